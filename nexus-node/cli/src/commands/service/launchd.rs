//! The agent of launchd, on macOS.

use super::plan::{FILES_MAX, Words, mark};
use super::xml::escaped;

pub(super) const LABEL: &str = "nexus-node";

/// The text of a property list.
pub(super) fn text(words: &Words<'_>) -> String {
    let arguments = std::iter::once(words.program).chain(words.arguments());
    let arguments: String = arguments.map(|word| format!("    <string>{}</string>\n", escaped(word))).collect();
    // the program bounds this file; launchd does not
    let log = words.log.map_or_else(String::new, |log| {
        format!("  <key>StandardErrorPath</key>\n  <string>{}</string>\n", escaped(log))
    });
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- {mark} -->
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
{arguments}  </array>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>30</integer>
  <key>Umask</key>
  <integer>63</integer>
  <key>SoftResourceLimits</key>
  <dict>
    <key>NumberOfFiles</key>
    <integer>{FILES_MAX}</integer>
  </dict>
{log}</dict>
</plist>
"#,
        mark = mark(),
    )
}

/// Whether an agent of ours names this data directory.
pub(super) fn names(text: &str, data_dir: &str) -> bool {
    text.contains(&format!("<string>--data-dir</string>\n    <string>{}</string>\n", escaped(data_dir)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::service::xml::contents;

    proptest! {
        #[test]
        fn any_path_comes_out_of_the_property_list_as_it_went_in(
            program in "/[^\\p{Cc}]{1,40}",
            data_dir in "/([^\\p{Cc}]|[&<>\"';]){1,40}",
        ) {
            let log = "/Users/me/Library/Logs/nexus-node.log";
            let words =
                Words { program: &program, data_dir: &data_dir, account: None, state_home: None, log: Some(log) };
            let text = text(&words);
            let up = ["up", "--started-by", "service", "--log-file", log, log].map(str::to_owned);
            let mut expected = vec![LABEL.to_owned(), program, "--data-dir".to_owned(), data_dir.clone()];
            expected.extend(up);
            prop_assert_eq!(contents(&text, "string"), expected);
            prop_assert!(names(&text, &data_dir));
        }
    }

    #[test]
    fn an_agent_starts_at_login_and_after_a_fault() {
        let words = Words { program: "/n", data_dir: "/d", account: None, state_home: None, log: None };
        let text = text(&words);
        assert!(text.contains("<key>RunAtLoad</key>\n  <true/>"), "{text}");
        assert!(text.contains("<key>SuccessfulExit</key>\n    <false/>"), "{text}");
        assert!(!text.contains("StandardErrorPath"), "{text}");
        for pair in ["dict", "array", "plist", "key", "integer", "string"] {
            let opened = text.matches(&format!("<{pair}>")).count() + text.matches(&format!("<{pair} ")).count();
            assert_eq!(opened, text.matches(&format!("</{pair}>")).count(), "{pair}");
        }
    }
}
