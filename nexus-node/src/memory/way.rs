/// The way with credentials in a memory that is written here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Secrets {
    /// A memory with a credential is not written.
    #[default]
    Refuse,
    /// `[KIND removed]` is written in the place of a credential. Keys of the caller's are refused all the same: another
    /// key would name another memory.
    Mask,
    /// Credentials are written like any other text.
    Allow,
}
