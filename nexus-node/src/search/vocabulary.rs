//! Words that mean the same in the trade: abbreviations and their long forms.
//!
//! It is small and exact on purpose. A word that only belongs to the same subject is not in it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Short forms and their long ones, in lower case: one is the other. No word is in two groups, of these or of those below.
const SHORT_FORMS: &[&[&str]] = &[
    &["k8s", "kubernetes", "kube"],
    &["db", "database", "datenbank"],
    &["postgres", "postgresql", "pg"],
    &["js", "javascript"],
    &["ts", "typescript"],
    &["py", "python"],
    &["auth", "authentication"],
    &["authz", "authorization"],
    &["pr", "prs", "mr"],
    &["env", "environment", "umgebung"],
    &["var", "variable"],
    &["config", "configuration", "cfg", "settings", "konfiguration"],
    &["repo", "repository"],
    &["deps", "dependencies", "dependency"],
    &["dev", "development"],
    &["prod", "production"],
    &["stage", "staging"],
    &["docs", "documentation", "dokumentation"],
    &["dir", "directory", "folder", "ordner", "verzeichnis"],
    &["cert", "certificate", "zertifikat"],
    &["perf", "performance"],
    &["msg", "message", "nachricht"],
    &["err", "error", "fehler"],
    &["app", "application"],
    &["infra", "infrastructure"],
    &["creds", "credentials"],
    &["tz", "timezone"],
    &["i18n", "internationalization", "internationalisation"],
    &["l10n", "localization", "localisation"],
    &["a11y", "accessibility"],
    &["o11y", "observability"],
    &["cmd", "command", "befehl"],
    &["arg", "argument", "parameter", "param"],
    &["fn", "function", "funktion"],
    &["impl", "implementation"],
    &["lib", "library", "bibliothek"],
    &["pkg", "package", "paket"],
    &["tmp", "temporary", "temp"],
    &["img", "image", "picture", "bild"],
    &["btn", "button"],
    &["vuln", "vulnerability"],
    &["regex", "regexp"],
    &["tf", "terraform"],
    &["gh", "github"],
    &["max", "maximum"],
    &["min", "minimum"],
    &["ref", "reference"],
    &["spec", "specification"],
    &["sync", "synchronization", "synchronisation", "synchronize"],
    &["async", "asynchronous"],
    &["sched", "scheduler"],
    &["conn", "connection", "verbindung"],
    &["req", "request", "anfrage"],
    &["resp", "response", "antwort"],
    &["num", "number", "nummer"],
    &["mgmt", "management"],
    &["mgr", "manager"],
    &["svc", "service"],
    &["srv", "server"],
    &["ns", "namespace"],
    &["perms", "permissions", "permission"],
    &["ctx", "context"],
    &["prefs", "preferences", "preference"],
    &["util", "utils", "utilities"],
    &["admin", "administrator"],
    &["fw", "firmware"],
    &["hw", "hardware"],
    &["ui", "interface"],
    &["acct", "account", "konto"],
    &["attr", "attribute"],
    &["avg", "average"],
    &["calc", "calculate", "calculation"],
    &["desc", "description"],
    &["dest", "destination"],
    &["diff", "difference"],
    &["elem", "element"],
    &["exec", "execute", "execution"],
    &["freq", "frequency"],
    &["hist", "history"],
    &["idx", "index"],
    &["info", "information"],
    &["init", "initialization", "initialize"],
    &["lang", "language", "sprache"],
    &["len", "length"],
    &["obj", "object"],
    &["priv", "private"],
    &["prop", "props", "property", "properties"],
    &["pwd", "password", "passwd", "passwort"],
    &["recv", "receive"],
    &["seq", "sequence"],
    &["sess", "session"],
    &["src", "source"],
    &["sys", "system"],
    &["tbl", "table", "tabelle"],
    &["tx", "txn", "transaction"],
    &["ws", "websocket", "websockets"],
];

/// Other words of one meaning, as far as texts of the trade go.
const NEAR: &[&[&str]] = &[
    &["mem", "memory", "ram"],
    &["cpu", "processor"],
    &["net", "network", "netzwerk"],
    &["addr", "address", "adresse"],
    &["ttl", "lifetime"],
    &["rollback", "revert"],
    &["stats", "statistics", "metrics", "metriken"],
    &["vacation", "holiday", "holidays", "urlaub"],
    &["customer", "client", "kunde", "kunden"],
    &["invoice", "rechnung", "bill"],
    &["meeting", "besprechung"],
    &["oncall", "pager"],
    &["crash", "absturz"],
    &["backup", "sicherung"],
];

/// The short forms of a word, or the long ones of a short form.
pub(crate) fn short_forms(word: &str) -> impl Iterator<Item = &'static str> {
    static BY_WORD: LazyLock<ByWord> = LazyLock::new(|| by_word(SHORT_FORMS));
    others(&BY_WORD, word)
}

/// The words that mean nearly the same.
pub(crate) fn near(word: &str) -> impl Iterator<Item = &'static str> {
    static BY_WORD: LazyLock<ByWord> = LazyLock::new(|| by_word(NEAR));
    others(&BY_WORD, word)
}

/// Both.
pub(crate) fn related(word: &str) -> impl Iterator<Item = &'static str> {
    short_forms(word).chain(near(word))
}

type ByWord = BTreeMap<&'static str, &'static [&'static str]>;

fn by_word(groups: &'static [&'static [&'static str]]) -> ByWord {
    groups.iter().flat_map(|group| group.iter().map(|word| (*word, *group))).collect()
}

fn others(by_word: &'static ByWord, word: &str) -> impl Iterator<Item = &'static str> {
    let group = by_word.get_key_value(word);
    group.into_iter().flat_map(|(word, group)| group.iter().copied().filter(move |other| other != word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_in_two_groups_and_each_has_its_searched_form() {
        let mut seen = std::collections::BTreeSet::new();
        for word in SHORT_FORMS.iter().chain(NEAR).copied().flatten() {
            assert!(seen.insert(*word), "{word} is there twice");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        }
    }

    #[test]
    fn a_word_has_the_others_of_its_group() {
        assert_eq!(related("k8s").collect::<Vec<_>>(), ["kubernetes", "kube"]);
        assert_eq!(short_forms("auth").collect::<Vec<_>>(), ["authentication"]);
        assert_eq!((near("k8s").count(), near("crash").count(), related("harbour").count()), (0, 1, 0));
    }
}
