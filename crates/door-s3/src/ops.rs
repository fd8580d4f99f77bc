//! The operations of S3 over the name space. Each file translates one family and decides nothing itself.

mod acl;
mod attributes;
mod bucket;
mod copy;
mod delete;
mod list;
mod multipart;
mod multipart_list;
mod read;
mod service;
mod unset;
mod write;

pub(crate) use read::Status;
