use std::fmt;

/// The form of a credential. Its names are words for people, and for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SecretKind {
    /// A private key: PEM, OpenSSH, PGP, PuTTY, age, a JSON web key, a wallet.
    PrivateKey,
    /// The id of an AWS access key. It is half of a pair, and its other half is often near.
    AwsAccessKey,
    /// The secret of an AWS access key.
    AwsSecretKey,
    /// An API key, a client secret or a token of Google.
    GoogleKey,
    /// A key of a storage account, a client secret or a signed address of Azure.
    AzureKey,
    /// A token of GitHub, of whichever kind.
    GithubToken,
    /// A token of GitLab, of whichever kind.
    GitlabToken,
    /// A token of Slack.
    SlackToken,
    /// An address at which anybody may post: Slack, Discord, Teams.
    Webhook,
    /// A token of a Discord bot.
    DiscordToken,
    /// A token of a Telegram bot.
    TelegramToken,
    /// A secret key of Stripe, also of its test mode.
    StripeKey,
    /// A key of Twilio.
    TwilioKey,
    /// A key of SendGrid.
    SendgridKey,
    /// A token of a registry of packages or images: npm, PyPI, crates.io, RubyGems, NuGet, Docker Hub.
    RegistryToken,
    /// A token of Hugging Face.
    HuggingFaceToken,
    /// A key of OpenAI, or of a service with the same form.
    OpenAiKey,
    /// A key of Anthropic.
    AnthropicKey,
    /// A token of HashiCorp Vault.
    VaultToken,
    /// A token of another service with a prefix of its own.
    ServiceToken,
    /// A JSON web token.
    JsonWebToken,
    /// A connection string with a password.
    ConnectionString,
    /// A credential behind the scheme of an authorization header.
    AuthorizationHeader,
    /// A value that a telling name calls a password.
    Password,
    /// A value that looks random, and that a telling name calls a key, a token or a secret.
    NamedSecret,
    /// An invitation to a mesh of Nexus.
    MeshTicket,
}

impl SecretKind {
    /// Its name in plain words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PrivateKey => "private key",
            Self::AwsAccessKey => "AWS access key",
            Self::AwsSecretKey => "AWS secret key",
            Self::GoogleKey => "Google key",
            Self::AzureKey => "Azure key",
            Self::GithubToken => "GitHub token",
            Self::GitlabToken => "GitLab token",
            Self::SlackToken => "Slack token",
            Self::Webhook => "webhook address",
            Self::DiscordToken => "Discord token",
            Self::TelegramToken => "Telegram token",
            Self::StripeKey => "Stripe key",
            Self::TwilioKey => "Twilio key",
            Self::SendgridKey => "SendGrid key",
            Self::RegistryToken => "token of a package registry",
            Self::HuggingFaceToken => "Hugging Face token",
            Self::OpenAiKey => "OpenAI key",
            Self::AnthropicKey => "Anthropic key",
            Self::VaultToken => "Vault token",
            Self::ServiceToken => "token of a service",
            Self::JsonWebToken => "JSON web token",
            Self::ConnectionString => "connection string with a password",
            Self::AuthorizationHeader => "authorization header",
            Self::Password => "password",
            Self::NamedSecret => "key or token",
            Self::MeshTicket => "ticket of a mesh",
        }
    }
}

impl SecretKind {
    /// The text in the place of a credential that was taken out.
    pub fn removed(self) -> String {
        format!("[{self} removed]")
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
