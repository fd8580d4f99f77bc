//! Events of all sessions, held against the tree: each committed change told once, in the order of the inode's changes, and none that was
//! thrown away.

use std::collections::BTreeMap;
use std::sync::Arc;

use strata_namespace::{Begin, ListQuery, Namespace};

use super::super::rig::root;
use crate::follower::{Follower, Told};

/// Events read at once.
const PAGE: usize = 64;
const LIST: usize = 1000;

/// Follows all events of a store, and compares.
///
/// # Errors
/// They break a rule, or tell of another tree.
pub(super) fn hold_against(ns: &Arc<Namespace>) -> Result<u64, String> {
    // Nothing is told before it is durable.
    ns.commit_nothing().map_err(|error| format!("the store takes no change: {error:?}"))?;
    let mut follower = Follower::default();
    let mut reader = ns.events(Begin::Start);
    loop {
        let page = reader.next_page(PAGE).map_err(|error| format!("the events cannot be read: {error:?}"))?;
        if page.events.is_empty() {
            break;
        }
        page.events.iter().map(Told::of).try_for_each(|told| follower.follow(&told))?;
    }
    let buckets = ns.buckets(&root()).map_err(|error| format!("no buckets: {error:?}"))?;
    for bucket in buckets {
        let query = ListQuery { limit: LIST, ..ListQuery::default() };
        let page = ns.list(&root(), &bucket.name, &query).map_err(|error| format!("no list: {error:?}"))?;
        let there: BTreeMap<String, (u64, String)> = page
            .objects
            .into_iter()
            .filter(|(key, _)| !key.ends_with(b"/"))
            .map(|(key, info)| {
                (String::from_utf8_lossy(&key).into_owned(), (info.attr.size, strata_etag::of(&info.tag)))
            })
            .collect();
        let known: BTreeMap<String, (u64, String)> = follower
            .files(&bucket.name)
            .map(|(path, node)| (path.to_owned(), (node.size, node.etag.clone().unwrap_or_default())))
            .collect();
        for path in there.keys().chain(known.keys()) {
            let (is, told) = (there.get(path), known.get(path));
            // An empty file that was made at a file door has no content that an event would tell of.
            let alike = is.map(|is| is.0) == told.map(|told| told.0)
                && (is.map(|is| &is.1) == told.map(|told| &told.1) || told.is_some_and(|told| told.1.is_empty()));
            if !alike {
                return Err(format!("{}/{path}: listed as {is:?}, told as {told:?}", bucket.name));
            }
        }
    }
    Ok(follower.events)
}
