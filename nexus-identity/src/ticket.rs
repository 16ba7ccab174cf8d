use std::fmt;
use std::io;
use std::str::FromStr;

use borsh::{BorshDeserialize, BorshSerialize};
use data_encoding::{Encoding, Specification};
use std::sync::LazyLock;

use crate::claimed;
use crate::did::Did;
use crate::error::TicketError;
use crate::name::Name;
use crate::role::Role;
use crate::time::Timestamp;

/// The most addresses of the inviter in a ticket.
pub const TICKET_ADDRESSES_MAX: usize = 8;

const PREFIX: &str = "nexus1";
/// The format of tickets that do not say whose machine joins.
const FORMAT_FIRST: u16 = 1;
/// The format of tickets that say it.
const FORMAT_PERSON: u16 = 2;
const CHECKSUM_BYTES: usize = 5;
const BYTES_MAX: usize = 4096;
/// The longest text that is read as a ticket, in bytes: with white space in it, and a command around it.
const TEXT_BYTES_MAX: usize = 64 * 1024;
/// The command that takes a ticket, which people copy with it.
const COMMAND: &str = "join";

/// RFC 4648 base32 in lower case. Upper case is read too: people retype, and phones capitalize.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    specification.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    #[expect(clippy::expect_used, reason = "a constant specification")]
    specification.encoding().expect("a valid alphabet")
});

/// The id of a ticket in the inviter's records.
pub type TicketId = [u8; 16];

/// An invitation that a person carries from one machine to the next: the mesh, the inviter with its
/// addresses, and a secret that the inviter redeems.
///
/// Text form: `nexus1`, then base32 of the canonical bytes and a checksum. So a mistyped ticket is
/// refused before anything is dialled. Anybody who holds the ticket can join: treat it as a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The mesh: the DID of its root key.
    pub mesh: Did,
    /// The admin that redeems it.
    pub inviter: Did,
    /// Multiaddresses of the inviter without `/p2p/…`, best first, at most
    /// [`TICKET_ADDRESSES_MAX`].
    pub addresses: Vec<String>,
    /// The number of the role it gives ([`Role::number`]).
    role: u16,
    /// The time from which the inviter refuses it.
    pub expires_at: Timestamp,
    /// The number of instances that may join with it.
    pub uses: u32,
    /// Its id in the inviter's records.
    pub id: TicketId,
    /// The secret that the inviter asks for.
    pub secret: [u8; 16],
    /// Whose machine joins, if the inviter has said.
    pub person: Option<TicketPerson>,
}

/// Whose machine joins with a ticket. For the joiner to show: the inviter's own record decides.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum TicketPerson {
    /// Another machine of the inviter's person, which has this id.
    Inviters(Did),
    /// The first machine of somebody else, whom the inviter calls so.
    Other(Name),
}

impl Ticket {
    fn encode(&self) -> io::Result<Vec<u8>> {
        let Self { mesh, inviter, addresses, role, expires_at, uses, id, secret, person } = self;
        let format = if person.is_some() { FORMAT_PERSON } else { FORMAT_FIRST };
        let mut bytes = borsh::to_vec(&(format, mesh, inviter, addresses, role, expires_at, uses, id, secret))?;
        if let Some(person) = person {
            person.serialize(&mut bytes)?;
        }
        Ok(bytes)
    }

    fn decode(mut bytes: &[u8]) -> Result<Self, TicketError> {
        let format = bytes.first_chunk().map(|bytes| u16::from_le_bytes(*bytes)).ok_or(TicketError::Mistyped)?;
        if !(FORMAT_FIRST..=FORMAT_PERSON).contains(&format) {
            return Err(TicketError::TooNew { format });
        }
        bytes = &bytes[2..];
        let mut read = || -> io::Result<Self> {
            let reader = &mut bytes;
            let (mesh, inviter) = BorshDeserialize::deserialize_reader(reader)?;
            let addresses = addresses(reader)?;
            let (role, expires_at, uses, id, secret) = BorshDeserialize::deserialize_reader(reader)?;
            let person = match format {
                FORMAT_FIRST => None,
                _ => Some(TicketPerson::deserialize_reader(reader)?),
            };
            Ok(Self { mesh, inviter, addresses, role, expires_at, uses, id, secret, person })
        };
        let ticket = read().map_err(|_| TicketError::Mistyped)?;
        bytes.is_empty().then_some(ticket).ok_or(TicketError::Mistyped)
    }
}

/// Reads no more addresses than a ticket may have, whatever the count is.
fn addresses<R: io::Read>(reader: &mut R) -> io::Result<Vec<String>> {
    let count = u32::deserialize_reader(reader)?;
    if count as usize > TICKET_ADDRESSES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    (0..count).map(|_| claimed::text(reader)).collect()
}

impl Ticket {
    /// A new ticket with a random id and secret.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[expect(clippy::expect_used, reason = "a machine without randomness cannot make secrets")]
    pub fn new(mesh: Did, inviter: Did, addresses: Vec<String>, role: Role, expires_at: Timestamp, uses: u32) -> Self {
        let (mut id, mut secret) = ([0; 16], [0; 16]);
        getrandom::fill(&mut id).expect("the operating system gives randomness");
        getrandom::fill(&mut secret).expect("the operating system gives randomness");
        let addresses = addresses.into_iter().take(TICKET_ADDRESSES_MAX).collect();
        Self { mesh, inviter, addresses, role: role.number(), expires_at, uses, id, secret, person: None }
    }

    /// The same ticket with whose machine joins.
    #[must_use]
    pub fn of_person(self, person: Option<TicketPerson>) -> Self {
        Self { person, ..self }
    }

    /// The role it gives, if this version knows it.
    pub fn role(&self) -> Option<Role> {
        [Role::Reader, Role::Member, Role::Admin].into_iter().find(|role| role.number() == self.role)
    }

    fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
        let digest = blake3::derive_key("nexus ticket checksum v1", bytes);
        let mut checksum = [0; CHECKSUM_BYTES];
        checksum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
        checksum
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.encode().map_err(|_| fmt::Error)?;
        let checksum = Self::checksum(&bytes);
        bytes.extend(checksum);
        write!(f, "{PREFIX}{}", BASE32.encode(&bytes))
    }
}

/// Leaves the secret out: tickets end up in logs.
impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("mesh", &self.mesh)
            .field("inviter", &self.inviter)
            .field("addresses", &self.addresses)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    /// Reads a ticket as people copy it: wrapped by a terminal, in quotes, or with the command around it.
    fn from_str(text: &str) -> Result<Self, TicketError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(TicketError::NotATicket);
        }
        let text: String = text.chars().filter(|letter| !is_nothing(*letter)).collect();
        let body = body_of(&text).ok_or(TicketError::NotATicket)?;
        if body.len() > BYTES_MAX * 8 / 5 {
            return Err(TicketError::Mistyped);
        }
        let bytes = BASE32.decode(body.as_bytes()).map_err(|_| TicketError::Mistyped)?;
        let (bytes, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TicketError::Mistyped)?;
        if Self::checksum(bytes) != *checksum {
            return Err(TicketError::Mistyped);
        }
        Self::decode(bytes)
    }
}

/// Whether a character in a copied ticket says nothing: white space, a quote, a character without a shape, or the sign
/// with which shells continue a line. The checksum guards the rest.
fn is_nothing(letter: char) -> bool {
    letter.is_whitespace()
        || letter.is_control()
        || matches!(letter,
            '"' | '\'' | '`' | '\\' | '«' | '»' | '\u{2018}'..='\u{201f}' | '\u{2039}' | '\u{203a}' | '\u{300c}'..='\u{300f}'
            | '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn starts_at(text: &str, at: usize) -> bool {
    text.get(at..at + PREFIX.len()).is_some_and(|found| found.eq_ignore_ascii_case(PREFIX))
}

/// The part of a ticket after its prefix. Before it nothing may stand but the command that takes it; with that command,
/// further flags may follow.
fn body_of(text: &str) -> Option<&str> {
    let body_after = |at: usize| text.get(at..).filter(|_| starts_at(text, at)).map(|found| &found[PREFIX.len()..]);
    // the name of a directory or a node may look like the beginning of one, too
    let letters =
        |body: &&str| body.bytes().take_while(|byte| matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'2'..=b'7')).count();
    let (at, body) = text
        .char_indices()
        .filter_map(|(at, _)| Some((at, body_after(at)?)))
        .max_by_key(|(at, body)| (letters(body), std::cmp::Reverse(*at)))?;
    let before = &text[..at];
    if before.is_empty() {
        return Some(body);
    }
    if !before.contains(COMMAND) {
        return None;
    }
    let flags = body.find("--").unwrap_or(body.len());
    Some(&body[..flags])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keypair;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        let addresses = vec!["/ip4/192.0.2.1/udp/4002/quic-v1".to_owned(), "/ip4/192.0.2.1/tcp/4002".to_owned()];
        let (mesh, inviter) = (Keypair::generate().did(), Keypair::generate().did());
        Ticket::new(mesh, inviter, addresses, Role::Member, Timestamp::from_ms(9), 1)
    }

    /// promise: Identities | A ticket survives being written down, in either case
    #[test]
    fn a_ticket_survives_being_written_down() {
        let ticket = ticket();
        let text = ticket.to_string();
        assert_eq!(text.parse::<Ticket>().unwrap(), ticket);
        assert_eq!(format!("  {}\n", text.to_uppercase()).parse::<Ticket>().unwrap(), ticket);
        assert_eq!(ticket.role(), Some(Role::Member));
        assert!(!format!("{ticket:?}").contains("secret"));
        let name = "alice".parse().unwrap();
        for person in [TicketPerson::Inviters(Keypair::generate().did()), TicketPerson::Other(name)] {
            let ticket = ticket.clone().of_person(Some(person));
            assert_eq!(ticket.to_string().parse::<Ticket>().unwrap(), ticket);
        }
    }

    /// promise: Identities | A ticket survives being written down, in either case
    #[test]
    fn white_space_quotes_and_the_command_around_a_ticket_are_nothing() {
        let ticket = ticket();
        let text = ticket.to_string();
        let every = |width: usize, between: &str| {
            let letters: Vec<char> = text.chars().collect();
            letters.chunks(width).map(|chunk| chunk.iter().collect::<String>()).collect::<Vec<_>>().join(between)
        };
        let mut copies: Vec<String> =
            ["\n", "\r\n", "\r", "\t", " ", "\u{a0}", "\n    ", "\u{2028}", "\u{3000}", " \\\n", "\u{200b}"]
                .iter()
                .flat_map(|between| [every(80, between), every(3, between), every(1, between)])
                .collect();
        for (open, close) in
            [("\"", "\""), ("'", "'"), ("`", "`"), ("“", "”"), ("‘", "’"), ("«", "»"), ("「", "」"), ("\u{feff}", "")]
        {
            copies.push(format!("{open}{text}{close}\n"));
        }
        for command in [
            format!("nexus-node join {text}"),
            format!("  $ nexus-node join {}\n", every(80, "\n")),
            format!("nexus-node --data-dir /tmp/x join '{text}' --name laptop"),
            format!("'nexus-node join {text}'"),
            format!("PS C:\\> nexus-node.exe join {text}\r\n"),
            format!("nexus-node join --name laptop {text}"),
            format!("nexus-node --data-dir /srv/nexus1 join {text} --name nexus1"),
        ] {
            copies.push(command);
        }
        for copy in copies {
            assert_eq!(copy.parse::<Ticket>().as_ref(), Ok(&ticket), "{copy:?}");
            assert_eq!(copy.to_uppercase().replace("JOIN", "join").parse::<Ticket>().as_ref(), Ok(&ticket), "{copy:?}");
        }
        assert_eq!(format!("{text}{text}").parse::<Ticket>(), Err(TicketError::Mistyped));
        assert_eq!(format!("see {text}").parse::<Ticket>(), Err(TicketError::NotATicket));
        assert_eq!(" ".repeat(TEXT_BYTES_MAX + 1).parse::<Ticket>(), Err(TicketError::NotATicket));
    }

    /// promise: Bad input | A mistyped ticket, or something else: refused undialled
    #[test]
    fn what_is_no_ticket_says_so() {
        for text in ["", "nexus", "hello", "nexüs1abc", "did:key:z6Mk"] {
            assert_eq!(text.parse::<Ticket>(), Err(TicketError::NotATicket), "{text}");
        }
        assert_eq!("nexus1".parse::<Ticket>(), Err(TicketError::Mistyped));
    }

    proptest! {
        /// promise: Bad input | A mistyped ticket, or something else: refused undialled
        #[test]
        fn a_mistyped_ticket_is_refused(position in any::<prop::sample::Index>(), letter in "[a-z2-7]", dropped: bool) {
            let text = ticket().to_string();
            let at = PREFIX.len() + position.index(text.len() - PREFIX.len());
            let mut typed = text.clone();
            typed.replace_range(at..=at, if dropped { "" } else { &letter });
            prop_assume!(typed != text);
            prop_assert_eq!(typed.parse::<Ticket>(), Err(TicketError::Mistyped));
        }
    }
}
