//! The scheduled task, on Windows.

use super::plan::{Words, mark};
use super::xml::escaped;

pub(super) const NAME: &str = "nexus-node";

/// The text of a task.
pub(super) fn text(words: &Words<'_>) -> String {
    let account = |indent: &str| {
        let line = |account| format!("{indent}<UserId>{}</UserId>\n", escaped(account));
        words.account.map_or_else(String::new, line)
    };
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!-- {mark} -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Nexus node</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
{trigger}    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
{principal}      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Hidden>true</Hidden>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>10</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{program}</Command>
      <Arguments>{arguments}</Arguments>
    </Exec>
  </Actions>
</Task>
"#,
        mark = mark(),
        trigger = account("      "),
        principal = account("      "),
        program = escaped(words.program),
        arguments = escaped(&command(&words.arguments())),
    )
}

/// Whether a task of ours names this data directory.
pub(super) fn names(text: &str, data_dir: &str) -> bool {
    text.contains(&escaped(&format!("--data-dir {} up ", argument(data_dir))))
}

fn command(arguments: &[&str]) -> String {
    arguments.iter().map(|word| argument(word)).collect::<Vec<_>>().join(" ")
}

/// An argument by the rules of `CommandLineToArgvW`: backslashes count only before a quote.
fn argument(word: &str) -> String {
    if !word.is_empty() && !word.contains([' ', '\t', '"']) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    let mut backslashes = 0;
    for c in word.chars() {
        match c {
            '\\' => backslashes += 1,
            c => {
                let escapes = if c == '"' { 2 * backslashes + 1 } else { backslashes };
                quoted.push_str(&"\\".repeat(escapes));
                quoted.push(c);
                backslashes = 0;
            }
        }
    }
    quoted.push_str(&"\\".repeat(2 * backslashes));
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::commands::service::xml::contents;

    /// The arguments of a command line, read as Windows does.
    fn read(line: &str) -> Vec<String> {
        let (mut words, mut word, mut begun, mut inside) = (Vec::new(), String::new(), false, false);
        let signs: Vec<char> = line.chars().collect();
        let mut at = 0;
        while at < signs.len() {
            let run = signs[at..].iter().take_while(|c| **c == '\\').count();
            let next = signs.get(at + run).copied();
            if run > 0 {
                begun = true;
                let before_quote = next == Some('"');
                word.push_str(&"\\".repeat(if before_quote { run / 2 } else { run }));
                at += run;
                if before_quote && run % 2 == 1 {
                    word.push('"');
                    at += 1;
                }
                continue;
            }
            match signs[at] {
                '"' => (inside, begun) = (!inside, true),
                ' ' | '\t' if !inside => {
                    if begun {
                        words.push(std::mem::take(&mut word));
                    }
                    begun = false;
                }
                c => {
                    word.push(c);
                    begun = true;
                }
            }
            at += 1;
        }
        if begun {
            words.push(word);
        }
        words
    }

    proptest! {
        #[test]
        fn any_path_comes_out_of_the_task_as_it_went_in(
            program in "[^\\p{Cc}]{1,40}",
            data_dir in "([^\\p{Cc}]|[&<>\"'\\\\ ]){1,40}",
        ) {
            let words =
                Words { program: &program, data_dir: &data_dir, account: Some("PC\\me & co"), state_home: None, log: None };
            let text = text(&words);
            prop_assert_eq!(contents(&text, "Command"), [program]);
            let arguments = ["--data-dir", &data_dir, "up", "--started-by", "service"];
            prop_assert_eq!(read(&contents(&text, "Arguments")[0]), arguments);
            prop_assert_eq!(contents(&text, "UserId"), ["PC\\me & co", "PC\\me & co"]);
            prop_assert!(names(&text, &data_dir));
        }
    }

    #[test]
    fn a_task_starts_at_logon_and_runs_on_without_an_end() {
        let words = Words { program: "n", data_dir: "d", account: None, state_home: None, log: Some("l") };
        let text = text(&words);
        assert!(!text.contains("UserId") && text.contains("<ExecutionTimeLimit>PT0S<"), "{text}");
        assert!(text.contains("<Arguments>--data-dir d up --started-by service --log-file l</Arguments>"), "{text}");
    }
}
