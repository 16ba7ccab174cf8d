//! Words that mean the same in the trade: abbreviations and their long forms.
//!
//! It is small and exact on purpose. A word that only belongs to the same subject is not in it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Words, in lower case, that mean the same. No word is in two groups.
const GROUPS: &[&[&str]] = &[
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
    &["mem", "memory", "ram"],
    &["cpu", "processor"],
    &["net", "network", "netzwerk"],
    &["addr", "address", "adresse"],
    &["pwd", "password", "passphrase", "passwort"],
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
    &["ttl", "lifetime"],
    &["regex", "regexp"],
    &["tf", "terraform"],
    &["gh", "github"],
    &["rollback", "revert"],
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
    &["stats", "statistics", "metrics", "metriken"],
    &["num", "number", "nummer"],
    &["vacation", "holiday", "holidays", "urlaub"],
    &["customer", "client", "kunde", "kunden"],
    &["invoice", "rechnung", "bill"],
    &["meeting", "besprechung"],
    &["oncall", "pager"],
    &["crash", "absturz"],
    &["backup", "sicherung"],
];

/// The other words of a word's group.
pub(crate) fn related(word: &str) -> impl Iterator<Item = &'static str> {
    static BY_WORD: LazyLock<BTreeMap<&str, &[&str]>> =
        LazyLock::new(|| GROUPS.iter().flat_map(|group| group.iter().map(|word| (*word, *group))).collect());
    let group = BY_WORD.get_key_value(word);
    group.into_iter().flat_map(|(word, group)| group.iter().copied().filter(move |other| other != word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_is_in_two_groups_and_each_has_its_searched_form() {
        let mut seen = std::collections::BTreeSet::new();
        for word in GROUPS.iter().copied().flatten() {
            assert!(seen.insert(*word), "{word} is there twice");
            assert!(word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        }
    }

    #[test]
    fn a_word_has_the_others_of_its_group() {
        assert_eq!(related("k8s").collect::<Vec<_>>(), ["kubernetes", "kube"]);
        assert_eq!(related("harbour").count(), 0);
    }
}
