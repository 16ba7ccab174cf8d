use nexus_client::wire;
use nexus_node::api::{Problem, code};

use super::reference::{SHORT, of};
use crate::client::{Client, query};
use crate::output::{Printer, Style, Table, count};

/// Looks through blobs of the node, and shows how far it is. Damage that stays is an error.
pub(super) fn verify(client: &Client, printer: &Printer, blob: Option<&str>, all: bool) -> Result<(), Problem> {
    let path = match blob {
        Some(blob) => of(blob, "/verify"),
        None => format!("/v1/blobs/verify{}", query(&[("all", all.then_some("true"))])),
    };
    let bar = printer.transfer("looking", None);
    for line in client.post_lines(&path, Vec::new())? {
        let line: wire::BlobsVerify = serde_json::from_str(&line?)
            .map_err(|error| Problem::new("failed", format!("the answer cannot be understood: {error}")))?;
        if let Some(progress) = line.progress {
            bar.set_length(progress.size);
            Printer::show_total(&bar);
            bar.set_position(progress.bytes);
            if progress.damaged > 0 {
                bar.set_message(format!("{} damaged", progress.damaged));
            }
        }
        if let Some(error) = line.error {
            bar.finish_and_clear();
            let code = code(&error.code).map_or("failed", |code| code.name);
            return Err(Problem { code, message: error.message, hint: error.hint, id: error.id });
        }
        if let Some(blobs) = line.blobs {
            bar.finish_and_clear();
            return told(&blobs, printer);
        }
    }
    Err(Problem::new("no_node", "the node went away in the middle of its answer").hint("ask again"))
}

fn told(blobs: &[wire::BlobVerified], printer: &Printer) -> Result<(), Problem> {
    printer.answer(&blobs, || {
        let looked = count(blobs.len() as u64, "blob", "blobs");
        let damaged: Vec<&wire::BlobVerified> = blobs.iter().filter(|blob| blob.damaged > 0).collect();
        if damaged.is_empty() {
            return format!("{looked}, all sound");
        }
        let mut table = Table::new(["HASH", "PARTS", "DAMAGED", "MENDED"]);
        for blob in damaged {
            table.row([
                (blob.hash.chars().take(SHORT).collect(), Some(Style::Bold)),
                (blob.parts.to_string(), None),
                (blob.damaged.to_string(), Some(Style::Bad)),
                (blob.mended.to_string(), (blob.mended > 0).then_some(Style::Good)),
            ]);
        }
        format!("{}\n{looked} looked through", table.show(printer))
    })?;
    let left = blobs.iter().filter(|blob| blob.mended < blob.damaged).count() as u64;
    if left > 0 {
        let message = format!("{} damaged: nobody in reach has the parts", count(left, "blob stays", "blobs stay"));
        let hint = "the node mends what it can once a member with them is in reach; a disk that damages files may fail";
        printer.warning(&message, Some(hint));
    }
    Ok(())
}
