//! Each limit from both sides: the last value that is good, and the first one that is not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use nexus_identity::{
    CHAIN_LINKS_MAX, Chain, ChainError, Claims, Credential, Did, Domain, Keypair, NAME_BYTES_MAX, Name, NameError,
    Role, Roles, TICKET_ADDRESSES_MAX, Ticket, TicketError, Timestamp,
};

fn key(n: u8) -> Keypair {
    Keypair::from_seed(&[n; 32])
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn claims(issuer: u8, subject: u8) -> Claims {
    let name = format!("n{subject}").parse().unwrap();
    Claims::new(key(0).did(), key(subject).did(), name, [Role::Admin], at(1_000)).issued_by(key(issuer).did())
}

fn founder() -> Chain {
    Chain::found(claims(0, 1).sign(&key(0))).unwrap()
}

/// A credential of claims that nobody would issue, signed by the root all the same.
fn signed(claims: &[u8]) -> Credential {
    let signature = key(0).sign(Domain::Credential, &blake3::derive_key("nexus credential v1", claims));
    borsh::from_slice(&borsh::to_vec(&(claims, signature)).unwrap()).unwrap()
}

// credentials

#[test]
fn a_credential_is_good_to_its_last_millisecond() {
    let ending = claims(0, 1).expiring(Some(at(5_000)));
    assert!(!ending.expired(at(4_999)));
    assert!(!ending.expired(at(5_000)));
    assert!(ending.expired(at(5_001)));
    assert!(!claims(0, 1).expired(at(u64::MAX)), "without an end");
}

#[test]
fn a_chain_ends_with_whichever_link_ends_first() {
    let link = |issuer, subject, end: Option<u64>| claims(issuer, subject).expiring(end.map(at)).sign(&key(issuer));
    for (first, second, expected) in
        [(Some(9), Some(5), Some(5)), (Some(5), Some(9), Some(5)), (None, Some(7), Some(7)), (None, None, None)]
    {
        let chain = Chain::found(link(0, 1, first)).unwrap().extend(link(1, 2, second)).unwrap();
        assert_eq!(chain.expires_at().unwrap(), expected.map(at));
    }
}

#[test]
fn a_format_that_never_was_is_malformed_and_a_later_one_too_new() {
    let honest = borsh::to_vec(&claims(0, 1)).unwrap();
    let of_format = |format: u16| signed(&[&format.to_le_bytes()[..], &honest[2..]].concat()).claims();
    assert_eq!(of_format(1).unwrap(), claims(0, 1));
    assert_eq!(of_format(0), Err(ChainError::Malformed));
    assert_eq!(of_format(u16::MAX), Err(ChainError::TooNew { format: u16::MAX }));
    assert_eq!(signed(&[1]).claims(), Err(ChainError::Malformed));
    assert_eq!(signed(&[honest.as_slice(), &[0]].concat()).claims(), Err(ChainError::Malformed));
}

#[test]
fn a_chain_has_its_links_counted() {
    let mut chain = founder();
    assert_eq!(chain.len(), 1);
    for n in 2..=u8::try_from(CHAIN_LINKS_MAX).unwrap() {
        chain = chain.extend(claims(n - 1, n).sign(&key(n - 1))).unwrap();
        assert_eq!(chain.len(), usize::from(n));
    }
    let subjects: Vec<Did> = chain.verify_all(&key(0).did()).unwrap().iter().map(|claims| claims.subject).collect();
    assert_eq!(subjects, (1..=8).map(|n| key(n).did()).collect::<Vec<_>>());
    assert_eq!(chain.extend(claims(8, 9).sign(&key(8))), Err(ChainError::Length { links: 9 }));
}

#[test]
fn bytes_beyond_any_chain_are_not_even_read() {
    const BYTES_MAX: usize = CHAIN_LINKS_MAX * (1_024 + 128);
    // one link whose claims fill the rest; reading checks no more than the form of the list
    let of_length = |bytes: usize| {
        let claims = vec![0_u8; bytes - 4 - 4 - 64];
        Chain::from_bytes(&borsh::to_vec(&vec![(claims, [0_u8; 64])]).unwrap())
    };
    assert_eq!(of_length(BYTES_MAX).unwrap().len(), 1);
    assert_eq!(of_length(BYTES_MAX + 1), Err(ChainError::Malformed));
    assert_eq!(of_length(2 * BYTES_MAX), Err(ChainError::Malformed));
}

// roles

#[test]
fn a_role_includes_those_before_it_and_none_after() {
    let all = [Role::Reader, Role::Member, Role::Admin];
    for (has, held) in all.into_iter().enumerate() {
        let roles: Roles = [held].into_iter().collect();
        for (wanted, role) in all.into_iter().enumerate() {
            assert_eq!(roles.allow(role), has >= wanted, "{held} asked for {role}");
        }
        assert_eq!(roles.iter().collect::<Vec<_>>(), [held]);
        assert_eq!(held.number(), u16::try_from(has + 1).unwrap());
        assert_eq!(held.to_string().parse(), Ok(held));
    }
    assert_eq!(Role::Member.to_string(), "member");
    assert!("Member".parse::<Role>().is_err());
    let both: Roles = [Role::Admin, Role::Reader, Role::Admin].into_iter().collect();
    assert_eq!(both.iter().collect::<Vec<_>>(), [Role::Reader, Role::Admin]);
}

#[test]
fn roles_are_one_to_sixteen_ascending_numbers() {
    let read = |numbers: &[u16]| borsh::from_slice::<Roles>(&borsh::to_vec(&numbers).unwrap());
    let numbers: Vec<u16> = (1..=17).collect();
    assert!(read(&numbers[..16]).is_ok());
    for wrong in [&numbers[..], &[], &[2, 2], &[3, 2]] {
        assert!(read(wrong).is_err(), "{wrong:?}");
    }
    // a number of a later version is kept, and allows nothing
    let later = read(&[1, 900]).unwrap();
    assert_eq!(later.iter().collect::<Vec<_>>(), [Role::Reader]);
    assert!(!later.allow(Role::Member));
    assert_eq!(borsh::to_vec(&later).unwrap(), borsh::to_vec(&[1_u16, 900][..]).unwrap());
}

// names

#[test]
fn a_name_has_1_to_64_bytes_and_nothing_unprintable() {
    assert_eq!("n".repeat(NAME_BYTES_MAX).parse::<Name>().unwrap().to_string(), "n".repeat(64));
    assert_eq!("n".repeat(65).parse::<Name>(), Err(NameError::TooLong { bytes: 65 }));
    assert_eq!("é".repeat(32).parse::<Name>().unwrap().as_str().len(), 64);
    assert_eq!("é".repeat(33).parse::<Name>(), Err(NameError::TooLong { bytes: 66 }));
    assert_eq!("".parse::<Name>(), Err(NameError::Empty));
    for text in [" front", "back ", "in\nside", "\u{7f}", "no\u{a0}\u{a0}break\u{a0}"] {
        assert_eq!(text.parse::<Name>(), Err(NameError::Unprintable), "{text:?}");
    }
    assert!("two words".parse::<Name>().is_ok());
}

// tickets

fn ticket(addresses: Vec<String>) -> Ticket {
    Ticket::new(key(0).did(), key(1).did(), addresses, Role::Admin, at(9_000), 3)
}

/// A ticket's text from its bytes, with the right checksum.
fn text(bytes: &[u8]) -> String {
    let checksum = blake3::derive_key("nexus ticket checksum v1", bytes);
    let body = data_encoding::BASE32_NOPAD.encode(&[bytes, &checksum[..5]].concat());
    format!("nexus1{}", body.to_ascii_lowercase())
}

fn bytes(ticket: &Ticket) -> Vec<u8> {
    let text = ticket.to_string().to_ascii_uppercase();
    let mut bytes = data_encoding::BASE32_NOPAD.decode(&text.as_bytes()["nexus1".len()..]).unwrap();
    bytes.truncate(bytes.len() - 5);
    bytes
}

#[test]
fn a_ticket_is_its_bytes_and_nothing_more() {
    let ticket = ticket(vec!["/ip4/192.0.2.1/tcp/4002".to_owned()]);
    let good = bytes(&ticket);
    assert_eq!(text(&good), ticket.to_string());
    assert_eq!(text(&good).parse(), Ok(ticket.clone()));
    assert_eq!((ticket.role(), ticket.uses, ticket.expires_at), (Some(Role::Admin), 3, at(9_000)));

    assert_eq!(text(&[&good[..], &[0]].concat()).parse::<Ticket>(), Err(TicketError::Mistyped), "more bytes");
    assert_eq!(text(&good[..good.len() - 1]).parse::<Ticket>(), Err(TicketError::Mistyped), "fewer");
    assert_eq!(text(&[]).parse::<Ticket>(), Err(TicketError::Mistyped), "a checksum of nothing");
    let of_person = text(&[&[2, 0], &good[2..]].concat());
    assert_eq!(of_person.parse::<Ticket>(), Err(TicketError::Mistyped), "format 2 without a person");
    for format in [0, 3, 700_u16] {
        let other = text(&[&format.to_le_bytes()[..], &good[2..]].concat());
        assert_eq!(other.parse::<Ticket>(), Err(TicketError::TooNew { format }));
    }
    // the role's number follows the addresses
    let mut unknown = good.clone();
    let role = good.windows(2).rposition(|bytes| bytes == [3, 0]).unwrap();
    let at = good.len() - 16 - 16 - 4 - 8 - 2;
    assert!(role >= at, "the layout of the specification");
    unknown[at..at + 2].copy_from_slice(&900_u16.to_le_bytes());
    assert_eq!(text(&unknown).parse::<Ticket>().unwrap().role(), None);
}

#[test]
fn a_ticket_has_at_most_eight_addresses() {
    let addresses = |count: usize| (0..count).map(|n| format!("/memory/{n}")).collect::<Vec<_>>();
    assert_eq!(ticket(addresses(9)).addresses, addresses(TICKET_ADDRESSES_MAX));
    let mut ticket = ticket(addresses(8));
    assert_eq!(text(&bytes(&ticket)).parse(), Ok(ticket.clone()));
    ticket.addresses.push("/memory/8".to_owned());
    assert_eq!(text(&bytes(&ticket)).parse::<Ticket>(), Err(TicketError::Mistyped));
}

#[test]
fn a_ticket_has_less_than_4096_bytes() {
    let of_length = |length: usize| {
        let mut ticket = ticket(vec![String::new()]);
        ticket.addresses[0] = "a".repeat(length - bytes(&ticket).len() - 5);
        ticket
    };
    let longest = of_length(4_095);
    assert_eq!(longest.to_string().len(), "nexus1".len() + 6_552);
    assert_eq!(longest.to_string().parse(), Ok(longest));
    for length in [4_096, 4_200, 9_000] {
        assert_eq!(of_length(length).to_string().parse::<Ticket>(), Err(TicketError::Mistyped), "{length} bytes");
    }
}

#[test]
fn no_two_tickets_have_an_id_or_a_secret_in_common() {
    let (one, other) = (ticket(vec![]), ticket(vec![]));
    assert_ne!(one.id, other.id);
    assert_ne!(one.secret, other.secret);
    assert_ne!(one.id, one.secret);
    assert_ne!(Keypair::generate().did(), Keypair::generate().did());
}

// time

#[test]
fn moments_add_and_differ_without_leaving_their_range() {
    assert_eq!(at(5).saturating_add(Duration::from_millis(7)), at(12));
    assert_eq!(at(5).saturating_add(Duration::MAX), at(u64::MAX));
    assert_eq!(at(u64::MAX - 1).saturating_add(Duration::from_millis(2)), at(u64::MAX));
    assert_eq!(at(12).since(at(5)), Duration::from_millis(7));
    assert_eq!(at(5).since(at(12)), Duration::ZERO);
    assert_eq!(at(12).as_ms(), 12);
}

/// The calendar as one counts it, day by day.
#[test]
fn each_day_follows_the_one_before_it() {
    let (mut year, mut month, mut day) = (1_970, 1, 1);
    for number in 0..=400 * 366 {
        let morning = at(number * 86_400_000).to_string();
        assert_eq!(morning, format!("{year:04}-{month:02}-{day:02}T00:00:00.000Z"));
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + u64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        day += 1;
        if day > days {
            (month, day) = (month + 1, 1);
        }
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
    }
    for (ms, text) in [(1, "00:00:00.001"), (59_999, "00:00:59.999"), (3_661_234, "01:01:01.234")] {
        assert_eq!(at(ms).to_string(), format!("1970-01-01T{text}Z"));
    }
    assert_eq!(at(86_399_999).to_string(), "1970-01-01T23:59:59.999Z");
}

// words for logs

#[test]
fn logs_show_short_names_and_no_secrets() {
    let key = key(7);
    let text = key.did().to_string();
    let short = &text[text.len() - 8..];
    assert_eq!(key.did().short(), short);
    assert_eq!(format!("{:?}", key.did()), format!("Did(…{short})"));
    assert_eq!(format!("{key:?}"), format!("Keypair({short})"));
    assert_eq!(*key.seed(), [7; 32]);
    let signature = key.sign(Domain::Entry, &[1; 32]);
    let shown = data_encoding::HEXLOWER.encode(&signature.as_bytes()[..6]);
    assert_eq!(format!("{signature:?}"), format!("Signature({shown}…)"));
    let ticket = ticket(vec!["/memory/1".to_owned()]);
    let shown = format!("{ticket:?}");
    assert!(shown.contains("/memory/1") && shown.contains(&format!("{:?}", ticket.mesh)), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains(&format!("{:?}", ticket.secret)), "{shown}");
}

// bugs on purpose

#[cfg(not(feature = "plants"))]
#[test]
fn a_build_that_asks_for_no_planted_bugs_has_none() {
    use nexus_identity::plants::{choose, planted};

    assert!(!choose(Some("skips_gaps")));
    assert!(!planted("skips_gaps"));
}
