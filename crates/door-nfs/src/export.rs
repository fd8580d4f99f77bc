//! Export rules: which client may reach which part of the tree, how, and as whom.
//!
//! Invariants: what no rule admits is denied; among rules of one path the first that contains the client's address
//! decides; squashing is applied to the credentials of every call, never stored.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use strata_namespace::Caller;

use crate::operations::DOOR;
use strata_seam::Cidr;

use crate::config::ConfigError;
use crate::rpc::Credential;

/// First port a client needs no privilege for.
const PORT_UNPRIVILEGED: u16 = 1024;

/// Whose identity is replaced by the anonymous one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Squash {
    /// Nobody's.
    None,
    /// That of uid 0, and membership in gid 0.
    #[default]
    Root,
    /// Everybody's.
    All,
}

/// One export rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Export {
    /// What is exported: `/` (the whole tree) or `/folder`, one bucket by the name of its folder.
    pub path: String,
    /// Clients the rule admits; empty admits nobody.
    pub clients: Vec<Cidr>,
    /// Refuses every change with NFS3ERR_ROFS.
    pub read_only: bool,
    /// Whose identity is replaced.
    pub squash: Squash,
    /// The uid in place of a squashed one, and of calls without AUTH_SYS.
    pub anon_uid: u32,
    /// The gid in place of a squashed one, and of calls without AUTH_SYS.
    pub anon_gid: u32,
    /// Admits only calls from ports below 1024, which a client's ordinary users cannot bind.
    pub privileged_port: bool,
}

impl Export {
    /// The name of the exported bucket's folder; `None` for the whole tree.
    pub(crate) fn bucket(&self) -> Option<&str> {
        self.path.strip_prefix('/').filter(|name| !name.is_empty())
    }

    /// The caller that a call has under this rule.
    pub(crate) fn caller(&self, credential: &Credential) -> Caller {
        let anonymous = || Caller::new(self.anon_uid, self.anon_gid, Arc::from([]), &DOOR);
        let Credential::Sys { uid, gid, groups } = credential else {
            return anonymous();
        };
        match self.squash {
            Squash::None => Caller::new(*uid, *gid, Arc::clone(groups), &DOOR),
            Squash::All => anonymous(),
            Squash::Root if *uid == 0 => anonymous(),
            Squash::Root => {
                let squashed = |gid: u32| if gid == 0 { self.anon_gid } else { gid };
                let groups = if groups.contains(&0) {
                    groups.iter().copied().filter(|gid| *gid != 0).collect()
                } else {
                    Arc::clone(groups)
                };
                Caller::new(*uid, squashed(*gid), groups, &DOOR)
            }
        }
    }
}

/// Identity of an exported path within file handles: derived from the path, so that it stays when rules are
/// reordered, changed or removed and added again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ExportId(pub(crate) u32);

impl ExportId {
    fn of(path: &str) -> Self {
        let hash = blake3::hash(path.as_bytes());
        let [a, b, c, d, ..] = *hash.as_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

/// A rule with its path's identity.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) id: ExportId,
    pub(crate) export: Export,
}

/// Why a client may not use an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// No rule of this path admits the address.
    NotExported,
    /// The rule asks for a port below 1024.
    PortNotPrivileged,
}

/// All rules, validated.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportTable {
    rules: Vec<Arc<Rule>>,
}

impl ExportTable {
    /// Validates `exports`.
    ///
    /// # Errors
    /// [`ConfigError::ExportPath`] for a path that is neither `/` nor `/bucket`; [`ConfigError::ExportIdClash`] if two
    /// paths have the same identity (one pair in four thousand million).
    pub(crate) fn new(exports: Vec<Export>) -> Result<Self, ConfigError> {
        let mut rules: Vec<Arc<Rule>> = Vec::with_capacity(exports.len());
        for export in exports {
            let name = export.path.strip_prefix('/').ok_or_else(|| ConfigError::ExportPath(export.path.clone()))?;
            if name.contains(['/', '\0']) || name == "." || name == ".." {
                return Err(ConfigError::ExportPath(export.path));
            }
            let id = ExportId::of(&export.path);
            if let Some(other) = rules.iter().find(|rule| rule.id == id && rule.export.path != export.path) {
                return Err(ConfigError::ExportIdClash(other.export.path.clone(), export.path));
            }
            rules.push(Arc::new(Rule { id, export }));
        }
        Ok(Self { rules })
    }

    /// The rule that decides for `peer` at the exported path `id`.
    pub(crate) fn rule(&self, id: ExportId, peer: SocketAddr) -> Result<&Arc<Rule>, Refused> {
        let rule =
            self.rules.iter().find(|rule| rule.id == id && admits(rule, peer.ip())).ok_or(Refused::NotExported)?;
        if rule.export.privileged_port && peer.port() >= PORT_UNPRIVILEGED {
            return Err(Refused::PortNotPrivileged);
        }
        Ok(rule)
    }

    /// The rule under which `peer` mounts `path`, and the components of `path` below the exported one. A bucket's own
    /// export goes before that of the whole tree.
    pub(crate) fn mount<'p>(&self, path: &'p [u8], peer: SocketAddr) -> Result<(&Arc<Rule>, Vec<&'p [u8]>), Refused> {
        let components: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        if let Some((bucket, below)) = components.split_first()
            && let Ok(bucket) = std::str::from_utf8(bucket)
        {
            match self.rule(ExportId::of(&format!("/{bucket}")), peer) {
                Ok(rule) => return Ok((rule, below.to_vec())),
                Err(Refused::PortNotPrivileged) => return Err(Refused::PortNotPrivileged),
                Err(Refused::NotExported) => {}
            }
        }
        Ok((self.rule(ExportId::of("/"), peer)?, components))
    }

    /// Whether any rule admits `address`.
    pub(crate) fn admits(&self, address: IpAddr) -> bool {
        self.rules.iter().any(|rule| admits(rule, address))
    }

    /// The rules that decide for `address`, one per path, in order.
    pub(crate) fn visible_to(&self, address: IpAddr) -> Vec<&Arc<Rule>> {
        let mut visible: Vec<&Arc<Rule>> = Vec::new();
        for rule in self.rules.iter().filter(|rule| admits(rule, address)) {
            if !visible.iter().any(|seen| seen.id == rule.id) {
                visible.push(rule);
            }
        }
        visible
    }
}

fn admits(rule: &Rule, address: IpAddr) -> bool {
    rule.export.clients.iter().any(|range| range.contains(address))
}

#[cfg(test)]
mod tests;
