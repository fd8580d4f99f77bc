//! Golden vectors of RFC 5531 messages, and hostile headers.

use proptest::prelude::*;

use super::*;

fn words(list: &[u32]) -> Bytes {
    list.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<u8>>().into()
}

fn parsed(list: &[u32]) -> Message {
    Message::parse(words(list)).unwrap()
}

fn denial(list: &[u32]) -> Denial {
    match parsed(list) {
        Message::Denied { denial, .. } => denial,
        Message::Call(call) => panic!("accepted {call:?}"),
    }
}

#[test]
fn a_call_with_auth_sys_carries_uid_gid_and_groups() {
    // stamp 7, machine "ab", uid 1000, gid 100, groups 4 and 27
    let record = words(&[9, 0, 2, 100_003, 3, 1, 1, 32, 7, 2, 0x6162_0000, 1000, 100, 2, 4, 27, 0, 0, 0xabcd]);
    let Message::Call(call) = Message::parse(record).unwrap() else { panic!("denied") };
    assert_eq!((call.xid, call.program, call.version, call.procedure), (9, 100_003, 3, 1));
    assert_eq!(call.credential, Credential::Sys { uid: 1000, gid: 100, groups: Arc::from([4, 27]) });
    assert_eq!(call.args, words(&[0xabcd]));
}

#[test]
fn a_call_with_auth_none_is_anonymous() {
    let Message::Call(call) = parsed(&[9, 0, 2, 100_003, 3, 0, 0, 0, 0, 0]) else { panic!("denied") };
    assert_eq!(call.credential, Credential::Anonymous);
    assert!(call.args.is_empty());
}

#[test]
fn another_rpc_version_is_a_mismatch() {
    assert_eq!(denial(&[9, 0, 3, 100_003, 3, 1]), Denial::RpcMismatch);
}

#[test]
fn seventeen_groups_are_a_bad_credential() {
    let mut list = vec![9, 0, 2, 100_003, 3, 1, 1, 4 * (5 + 17), 0, 0, 0, 0, 17];
    list.extend([1; 17]);
    list.extend([0, 0]);
    assert_eq!(denial(&list), Denial::BadCredential);
}

#[test]
fn a_truncated_auth_sys_body_is_a_bad_credential() {
    assert_eq!(denial(&[9, 0, 2, 100_003, 3, 1, 1, 8, 0, 0, 0, 0]), Denial::BadCredential);
}

#[test]
fn a_credential_above_400_bytes_is_refused() {
    assert_eq!(denial(&[9, 0, 2, 100_003, 3, 1, 1, 401, 0, 0]), Denial::BadCredential);
}

#[test]
fn gss_is_an_unknown_flavor() {
    assert_eq!(denial(&[9, 0, 2, 100_003, 3, 1, 6, 0, 0, 0]), Denial::UnknownFlavor);
}

#[test]
fn a_reply_instead_of_a_call_ends_the_connection() {
    assert_eq!(Message::parse(words(&[9, 1, 0, 0, 0, 0])).unwrap_err(), XdrError::BadValue);
}

#[test]
fn replies_have_the_bytes_of_the_standard() {
    let bytes = |reply: Reply| reply.head;
    assert_eq!(
        bytes(Reply::refused(9, Refusal::ProgramMismatch { low: 3, high: 3 })),
        words(&[LAST_FRAGMENT | 32, 9, 1, 0, 0, 0, 2, 3, 3])
    );
    assert_eq!(bytes(Reply::refused(9, Refusal::ProgramUnavailable)), words(&[LAST_FRAGMENT | 24, 9, 1, 0, 0, 0, 1]));
    assert_eq!(bytes(Reply::refused(9, Refusal::ProcedureUnavailable)), words(&[LAST_FRAGMENT | 24, 9, 1, 0, 0, 0, 3]));
    assert_eq!(bytes(Reply::refused(9, Refusal::GarbageArguments)), words(&[LAST_FRAGMENT | 24, 9, 1, 0, 0, 0, 4]));
    assert_eq!(bytes(Reply::refused(9, Refusal::SystemError)), words(&[LAST_FRAGMENT | 24, 9, 1, 0, 0, 0, 5]));
    assert_eq!(bytes(Reply::denied(9, Denial::RpcMismatch)), words(&[LAST_FRAGMENT | 24, 9, 1, 1, 0, 2, 2]));
    assert_eq!(bytes(Reply::denied(9, Denial::BadCredential)), words(&[LAST_FRAGMENT | 20, 9, 1, 1, 1, 1]));
    assert_eq!(bytes(Reply::denied(9, Denial::UnknownFlavor)), words(&[LAST_FRAGMENT | 20, 9, 1, 1, 1, 2]));
    assert_eq!(bytes(Reply::denied(9, Denial::BadVerifier)), words(&[LAST_FRAGMENT | 20, 9, 1, 1, 1, 3]));
}

#[test]
fn a_repeated_reply_differs_only_in_its_xid() {
    let mut encoder = accepted(5, 64);
    encoder.u32(77);
    let first = Reply::finish(encoder, Bytes::new());
    let again = Reply::repeat(6, first.body());
    let wire = [again.head.as_ref(), again.data.as_ref()].concat();
    assert_eq!(Bytes::from(wire), words(&[LAST_FRAGMENT | 28, 6, 1, 0, 0, 0, 0, 77]));
    assert_eq!(first.len(), again.len());
}

#[test]
fn bulk_data_counts_with_its_padding() {
    let reply = Reply::finish(accepted(5, 64), Bytes::from_static(b"abcde"));
    assert_eq!(&reply.head[..4], &(LAST_FRAGMENT | 32).to_be_bytes());
    assert_eq!(reply.len(), 4 + 32);
}

proptest! {
    #[test]
    fn a_call_is_read_as_it_was_sent_and_cut_within_its_head_it_is_none(
        (xid, program, version, procedure) in any::<(u32, u32, u32, u32)>(),
        (uid, gid) in any::<(u32, u32)>(),
        machine in proptest::collection::vec(any::<u8>(), 0..=255),
        groups in proptest::collection::vec(any::<u32>(), 0..=16),
        args in proptest::collection::vec(any::<u32>(), 0..20),
        cut: prop::sample::Index,
    ) {
        let mut body = Encoder::default();
        body.u32(7);
        body.opaque(&machine);
        [uid, gid, groups.len() as u32].iter().chain(&groups).for_each(|word| body.u32(*word));
        let mut record = Encoder::default();
        [xid, 0, 2, program, version, procedure, 1].iter().for_each(|word| record.u32(*word));
        record.opaque(&body.into_vec());
        [0, 0].iter().for_each(|word| record.u32(*word));
        let head = record.len();
        args.iter().for_each(|word| record.u32(*word));
        let record = Bytes::from(record.into_vec());
        let Message::Call(call) = Message::parse(record.clone()).unwrap() else { panic!("denied") };
        prop_assert_eq!((call.xid, call.program, call.version, call.procedure), (xid, program, version, procedure));
        prop_assert_eq!(call.credential, Credential::Sys { uid, gid, groups: Arc::from(groups) });
        prop_assert_eq!(call.args, words(&args));
        let short = Message::parse(record.slice(..cut.index(head)));
        prop_assert!(!matches!(short, Ok(Message::Call(_))), "{short:?}");
    }

    #[test]
    fn a_credential_of_any_bytes_is_denied_or_has_no_more_groups_than_allowed(
        flavor in 0u32..3,
        body in proptest::collection::vec(prop_oneof![0u32..20, any::<u32>()], 0..100),
    ) {
        let mut encoder = Encoder::default();
        for word in [1, 0, 2, 100_003, 3, 1, flavor] {
            encoder.u32(word);
        }
        encoder.opaque(&words(&body));
        encoder.u32(0);
        encoder.u32(0);
        match Message::parse(Bytes::from(encoder.into_vec())).unwrap() {
            Message::Call(call) => match call.credential {
                Credential::Sys { groups, .. } => {
                    prop_assert!(flavor == 1 && groups.len() <= 16);
                    prop_assert!(body.len() >= 5 + groups.len(), "groups that nobody sent");
                }
                Credential::Anonymous => prop_assert_ne!(flavor, 1),
            },
            Message::Denied { denial, .. } => {
                let expected = if flavor < 2 { Denial::BadCredential } else { denial };
                prop_assert_eq!(denial, expected);
            }
        }
    }
}
