//! The WebDAV door over TCP and a real store: what docs/semantics/webdav.md promises, section by section.

mod client;
mod conditions;
mod crash;
mod downloads;
mod keys;
mod listing;
mod litmus;
mod locks;
mod names;
mod partial;
mod properties;
mod proxies;
mod support;
mod trees;
mod uploads;
mod users;
