//! A manifest behaves like the bytes it stands for: every operation is compared with the same one on an array.

use super::*;
use proptest::prelude::*;

/// Content as an array: which byte of which chunk (or page) each byte is.
fn flat(items: &[Item]) -> Vec<(u8, u64)> {
    items
        .iter()
        .flat_map(|item| {
            let (name, first) = match item.source {
                Source::Hole => (0, None),
                Source::Chunk { id, offset } => (id.0[0], Some(u64::from(offset))),
                Source::Page { id, .. } => (id.0[0], Some(0)),
            };
            (0..item.len).map(move |byte| (name, first.map_or(0, |first| first + byte)))
        })
        .collect()
}

fn id(byte: u8) -> ChunkId {
    ChunkId([byte; 32])
}

fn any_item() -> impl Strategy<Value = Item> {
    (1_u64..40, 0_u8..6, 0_u32..30).prop_map(|(len, name, offset)| match name {
        0 => Item::hole(len),
        name => Item { len, source: Source::Chunk { id: id(name), offset } },
    })
}

fn any_node() -> impl Strategy<Value = Node> {
    proptest::collection::vec(any_item(), 0..20).prop_map(|items| items.into_iter().collect())
}

proptest! {
    #[test]
    fn pushing_keeps_the_content_and_leaves_no_neighbours_to_join(items in proptest::collection::vec(any_item(), 0..30)) {
        let node: Node = items.iter().copied().collect();
        prop_assert_eq!(flat(node.items()), flat(&items));
        prop_assert_eq!(node.len(), flat(&items).len() as u64);
        prop_assert!(node.items().windows(2).all(|pair| pair[0].joined(pair[1]).is_none()));
    }

    #[test]
    fn a_slice_is_the_slice_of_the_content(node in any_node(), start in 0_u64..900, len in 0_u64..900) {
        let content = flat(node.items());
        let clamp = |offset: u64| usize::try_from(offset).unwrap().min(content.len());
        let slice = node.slice(start..start + len).unwrap();
        prop_assert_eq!(flat(&slice), &content[clamp(start)..clamp(start + len)]);
    }

    #[test]
    fn the_two_sides_of_a_split_are_the_content(node in any_node(), at in 0_u64..900) {
        let content = flat(node.items());
        let (before, from) = node.split_at(at).unwrap();
        let at = usize::try_from(at).unwrap().min(content.len());
        prop_assert_eq!(flat(&before), &content[..at]);
        prop_assert_eq!(flat(&from), &content[at..]);
    }

    #[test]
    fn replacing_a_range_is_replacing_it_in_the_content(
        node in any_node(), new in any_node(), start in 0_u64..900, len in 0_u64..200,
    ) {
        let mut content = flat(node.items());
        let (from, to) = (usize::try_from(start).unwrap(), usize::try_from(start + len).unwrap());
        if content.len() < from {
            content.resize(from, (0, 0));
        }
        content.splice(from..to.min(content.len()), flat(new.items()));
        prop_assert_eq!(flat(node.replace(start..start + len, new.into_items()).unwrap().items()), content);
    }

    #[test]
    fn every_offset_is_located_in_the_item_that_holds_it(node in any_node()) {
        let content = flat(node.items());
        for (offset, byte) in content.iter().enumerate() {
            let placed = node.locate(offset as u64).unwrap();
            prop_assert_eq!(&flat(&[placed.item])[offset - usize::try_from(placed.start).unwrap()], byte);
        }
        prop_assert_eq!(node.locate(content.len() as u64), None);
    }

    #[test]
    fn nodes_read_back(node in any_node(), page_len in 1..CONTENT_LEN_MAX / 2) {
        let mut node = node;
        node.push(Item::page(id(9), 1, page_len));
        let record = node.encode().unwrap();
        prop_assert_eq!(&Node::decode(&record).unwrap(), &node);
        for len in 0..record.len() {
            prop_assert!(Node::decode(&record[..len]).is_err());
        }
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        count in 0_u8..4, tail in proptest::collection::vec(any::<u8>(), 0..150),
    ) {
        let record = [vec![VERSION, count], tail].concat();
        if let Ok(node) = Node::decode(&record) {
            prop_assert_eq!(node.encode().unwrap(), record);
        }
    }
}

#[test]
fn a_node_has_the_bytes_the_format_page_gives() {
    let node: Node = [
        Item::hole(4096),
        Item::chunk(id(0xaa), 100),
        Item { len: 3, source: Source::Chunk { id: id(0xbb), offset: 200 } },
        Item::page(id(0xcc), 1, 1 << 20),
    ]
    .into_iter()
    .collect();
    let expected = [
        &[1, 4, 0x80, 0x80, 0x01][..],
        &[0x91, 0x03],
        &[0xaa; 32],
        &[0x0f, 0xc8, 0x01],
        &[0xbb; 32],
        &[0x82, 0x80, 0x80, 0x02, 0x01],
        &[0xcc; 32],
    ]
    .concat();
    assert_eq!(node.encode().unwrap(), expected);
}

#[test]
fn a_cut_through_a_page_names_the_page_to_load_and_goes_on_once_it_is_expanded() {
    let page: Node = [Item::chunk(id(1), 10), Item::chunk(id(2), 10)].into_iter().collect();
    let node: Node = [Item::chunk(id(3), 5), Item::page(id(4), 1, 20)].into_iter().collect();
    let needed = NeedsPage { index: 1, id: id(4) };
    assert_eq!(node.split_at(12), Err(needed));
    assert_eq!(node.slice(0..12), Err(needed));
    assert_eq!(node.split_at(5).unwrap().1, [Item::page(id(4), 1, 20)], "an end of the page is no cut");
    assert_eq!(node.slice(3..25).unwrap().len(), 2);
    let expanded = node.expand(1, &page).unwrap();
    assert_eq!(expanded.split_at(12).unwrap().0.last().unwrap().len, 7);
}

#[test]
fn a_page_of_another_length_than_its_parent_says_is_refused() {
    let node: Node = [Item::page(id(4), 1, 20)].into_iter().collect();
    let page: Node = [Item::hole(19)].into_iter().collect();
    assert_eq!(node.expand(0, &page), Err(ManifestError::PageLength { expected: 20, found: 19 }));
    assert!(page.expand(0, &node).is_err());
    assert!(page.expand(7, &node).is_err());
}

#[test]
fn a_page_that_holds_one_not_lower_than_itself_is_refused() {
    let node: Node = [Item::page(id(4), 2, 20)].into_iter().collect();
    let page = |height| [Item::page(id(5), height, 20)].into_iter().collect::<Node>();
    assert!(node.expand(0, &page(1)).is_ok());
    assert_eq!(node.expand(0, &page(2)), Err(ManifestError::PageHeight { height: 2 }));
    assert!(page(0).encode().is_err());
    assert!(page(DEPTH_MAX).encode().is_ok());
    assert!(page(DEPTH_MAX + 1).encode().is_err());
}

#[test]
fn what_no_stored_node_may_be_is_refused() {
    let too_many: Node = (0..=NODE_ITEMS_MAX).map(|n| Item::chunk(crate::chunk_id(&n.to_le_bytes()), 1)).collect();
    assert!(too_many.encode().is_err());
    for (len, offset) in [(CHUNK_LEN_MAX as u64 + 1, 0), (CHUNK_LEN_MAX as u64, 1), (1, u32::MAX)] {
        let node: Node = [Item { len, source: Source::Chunk { id: id(1), offset } }].into_iter().collect();
        assert!(node.encode().is_err());
    }
    let too_long: Node = [Item::hole(CONTENT_LEN_MAX), Item::chunk(id(1), 1)].into_iter().collect();
    assert!(too_long.encode().is_err());
    assert!(Node::decode(&[VERSION, 1, 0]).is_err(), "an empty hole");
    assert!(Node::decode(&[VERSION, 0]).unwrap().is_empty());
}
