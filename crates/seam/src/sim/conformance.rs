//! What every [`Disk`] must do, whichever medium it stands on: one suite for the simulated and the real disk.
