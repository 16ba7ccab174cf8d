//! Projects: a name, and marks by which a directory of any machine is known as the project's.
//!
//! A mark is a hash of the id of a first commit, or of a remote in a form that all ways of writing it share. So two clones
//! of a repository are one project whatever their directories are called, and a mark tells nobody where a repository is who
//! does not know it already.

use std::fmt;
use std::str::FromStr;

/// The longest name of a project, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The most marks of a project, and of a directory.
pub const MARKS_MAX: usize = 16;
/// The bytes of a mark.
const MARK_BYTES: usize = 16;

/// Whether a text may be a project's name: 1 to 128 bytes without control characters or white space around them.
pub fn is_name(name: &str) -> bool {
    let plain = name.trim() == name && !name.chars().any(char::is_control) && !name.contains(" = ");
    (1..=NAME_BYTES_MAX).contains(&name.len()) && plain
}

/// A mark of a project: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark([u8; MARK_BYTES]);

impl Mark {
    /// The mark of a repository's first commit, by its id as git shows it.
    pub fn of_commit(id: &str) -> Self {
        Self::of(format!("commit:{}", id.trim().to_ascii_lowercase()).as_bytes())
    }

    /// The mark of a remote, by its address as git has it; `None` for a path of one machine.
    ///
    /// ```
    /// use nexus_node::project::Mark;
    /// let ways = ["git@example.com:Acme/shop.git", "https://user:pw@example.com/acme/shop/", "ssh://git@example.com:22/acme/shop"];
    /// assert!(ways.iter().all(|way| Mark::of_remote(way) == Mark::of_remote("example.com/acme/shop")));
    /// assert_eq!(Mark::of_remote("../shop.git"), None);
    /// ```
    pub fn of_remote(address: &str) -> Option<Self> {
        Some(Self::of(format!("remote:{}", normal_remote(address)?).as_bytes()))
    }

    /// The mark of anything.
    pub(crate) fn of(thing: &[u8]) -> Self {
        let mut mark = [0; MARK_BYTES];
        blake3::Hasher::new().update(thing).finalize_xof().fill(&mut mark);
        Self(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// A text is no mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a mark has {} hexadecimal digits", MARK_BYTES * 2)]
pub struct BadMark;

impl FromStr for Mark {
    type Err = BadMark;

    fn from_str(text: &str) -> Result<Self, BadMark> {
        let bytes = data_encoding::HEXLOWER.decode(text.as_bytes()).map_err(|_| BadMark)?;
        bytes.try_into().map(Self).map_err(|_| BadMark)
    }
}

/// A remote as `host/owner/name` in lower case, without the user, the port and the ending.
fn normal_remote(address: &str) -> Option<String> {
    let address = address.trim();
    let (host, path) = match address.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?,
        // as git tells them apart: a colon before the first slash
        None => match address.split_once(':') {
            Some((host, path)) if !host.contains('/') && host.chars().count() > 1 => (host, path),
            Some(_) => return None,
            None => address.split_once('/')?,
        },
    };
    let host = host.rsplit('@').next()?;
    let host = host.strip_suffix(|c: char| c == '.').unwrap_or(host);
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path).trim_matches('/');
    let is_place = !host.is_empty() && !host.starts_with(['.', '~']) && !path.is_empty();
    is_place.then(|| format!("{host}/{path}").to_lowercase())
}

/// The directory of an agent, by all that tells its project: the marks of its repository, those of remotes first, and names
/// for a project that nobody knows yet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProjectPlace {
    /// The name of the repository's root, or of the directory.
    pub name: String,
    /// The owner's name in the first remote.
    pub owner: Option<String>,
    /// The marks, at most [`MARKS_MAX`].
    pub marks: Vec<Mark>,
}

impl ProjectPlace {
    /// A directory of this name; `None` if no project can be called so.
    pub fn named(name: impl Into<String>) -> Option<Self> {
        let name = name.into();
        is_name(&name).then_some(Self { name, owner: None, marks: Vec::new() })
    }

    /// With the marks of its remotes, in their order. The first one names the owner.
    #[must_use]
    pub fn remotes<'a>(mut self, addresses: impl IntoIterator<Item = &'a str>) -> Self {
        for address in addresses {
            let Some(normal) = normal_remote(address) else { continue };
            if self.owner.is_none() {
                let owner = normal.rsplit('/').nth(1).filter(|_| normal.matches('/').count() > 1);
                self.owner = owner.filter(|owner| is_name(owner)).map(str::to_owned);
            }
            self.mark(Mark::of(format!("remote:{normal}").as_bytes()));
        }
        self
    }

    /// With the marks of its repository's first commits.
    #[must_use]
    pub fn commits<'a>(mut self, ids: impl IntoIterator<Item = &'a str>) -> Self {
        for id in ids {
            self.mark(Mark::of_commit(id));
        }
        self
    }

    /// With a mark as it came from elsewhere.
    pub(crate) fn mark(&mut self, mark: Mark) {
        if self.marks.len() < MARKS_MAX && !self.marks.contains(&mark) {
            self.marks.push(mark);
        }
    }

    /// The name where another project has the plain one.
    pub(crate) fn longer_name(&self) -> String {
        let beside = match (&self.owner, self.marks.first()) {
            (Some(owner), _) => format!("{owner}/{}", self.name),
            (None, Some(mark)) => format!("{}-{}", self.name, &mark.to_string()[..8]),
            (None, None) => return self.name.clone(),
        };
        if is_name(&beside) { beside } else { self.name.clone() }
    }
}

/// The project of a session: by its name, or by the place in which the session is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProjectChoice {
    /// The one of this name.
    Named(String),
    /// The one of this directory.
    At(ProjectPlace),
}

/// A project's name, or a directory's signs, that are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadProject {
    /// The name is too long, empty, or has control characters.
    #[error("a project has 1 to {NAME_BYTES_MAX} bytes and no control characters")]
    Name,
    /// A mark is none, or there are too many.
    #[error("marks are at most {MARKS_MAX}, of {} hexadecimal digits each, with commas between them", MARK_BYTES * 2)]
    Marks,
    /// There are marks without the name of a directory.
    #[error("marks and an owner go with the name of a directory")]
    NoPlace,
}

impl ProjectChoice {
    /// As parameters of an address say it: `project=NAME`, or `place=NAME&owner=NAME&marks=MARK,MARK`. A name goes before a
    /// place.
    ///
    /// # Errors
    /// [`BadProject`].
    pub fn of_parameters(
        project: Option<String>,
        place: Option<String>,
        owner: Option<String>,
        marks: Option<&str>,
    ) -> Result<Option<Self>, BadProject> {
        let is_plain =
            |name: &String| (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control);
        let of_marks = |mark: &str| mark.parse::<Mark>().map_err(|_| BadProject::Marks);
        let marks = marks.filter(|marks| !marks.is_empty()).map(|marks| marks.split(',').map(of_marks).collect());
        let marks: Vec<Mark> = marks.transpose()?.unwrap_or_default();
        if marks.len() > MARKS_MAX {
            return Err(BadProject::Marks);
        }
        match (project, place) {
            (Some(name), _) if is_plain(&name) => Ok(Some(Self::Named(name))),
            (None, Some(name)) => {
                let mut place = ProjectPlace::named(name).ok_or(BadProject::Name)?;
                place.owner = owner
                    .map(|owner| Some(owner).filter(|owner| is_name(owner)).ok_or(BadProject::Name))
                    .transpose()?;
                marks.into_iter().for_each(|mark| place.mark(mark));
                Ok(Some(Self::At(place)))
            }
            (Some(_), _) => Err(BadProject::Name),
            (None, None) if owner.is_some() || !marks.is_empty() => Err(BadProject::NoPlace),
            (None, None) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_ways_of_writing_a_remote_are_one() {
        for way in [
            "example.com/acme/shop",
            "https://example.com/acme/shop.git",
            "https://Example.com/Acme/Shop/",
            "https://token@example.com/acme/shop.git/",
            "https://user:p%40ss@example.com:8443/acme/shop",
            "git@example.com:acme/shop.git",
            "example.com:acme/shop",
            "ssh://git@example.com:2222/acme/shop.git",
            "git://example.com/acme/shop",
            " git@example.com:/acme/shop.git\n",
        ] {
            assert_eq!(normal_remote(way).as_deref(), Some("example.com/acme/shop"), "{way}");
        }
        assert_eq!(normal_remote("git@host:group/sub/tool").as_deref(), Some("host/group/sub/tool"));
        for local in [
            "/srv/git/shop.git",
            "../shop",
            "./shop.git",
            "~/shop",
            "file:///srv/shop.git",
            "C:\\git\\shop",
            "C:/shop",
            "",
            "shop",
            "https://example.com",
            "https://example.com/",
        ] {
            assert_eq!(normal_remote(local), None, "{local}");
        }
    }

    #[test]
    fn a_place_has_few_marks_and_the_first_remotes_owner() {
        let place =
            ProjectPlace::named("shop").unwrap().remotes(["/srv/x", "git@a.b:me/shop", "https://a.b/acme/shop"]);
        assert_eq!((place.owner.as_deref(), place.marks.len()), (Some("me"), 2));
        assert_eq!(place.longer_name(), "me/shop");
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let place = ProjectPlace::named("x").unwrap().commits(many.iter().map(String::as_str));
        assert_eq!(place.marks.len(), MARKS_MAX);
        assert!(place.longer_name().starts_with("x-") && place.longer_name().len() == 10);
        assert_eq!(ProjectPlace::named("x").unwrap().longer_name(), "x");
        assert_eq!(ProjectPlace::named("x").unwrap().remotes(["https://a.b/shop"]).owner, None);
        for bad in ["", " a", "a\n", &"x".repeat(129), "a = b"] {
            assert!(ProjectPlace::named(bad).is_none(), "{bad}");
        }
        assert_eq!("0".parse::<Mark>(), Err(BadMark));
        let mark = Mark::of_commit("ABC\n");
        assert_eq!((mark.to_string().parse(), mark), (Ok(mark), Mark::of_commit("abc")));
    }
}
