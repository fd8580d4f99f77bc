//! The name space over simulated disks: what files doors and S3 see, crashes, and a model.

mod crash;
mod files;
mod files_shared;
mod model;
mod objects;
mod support;
