//! Living documents: characters that one member types and another sees, and documents that are long, many or at rest.
//!
//! | room | content |
//! |---|---|
//! | `ground` | two members, texts that grow, and documents of Automerge alone |
//! | `typing` | how fast, and how soon on the other node |
//! | `room` | the room of a typed character on the disk |
//! | `long` | a document of 100,000 changes: one change more, opening, memory |
//! | `held` | the memory of a process that holds a document |
//! | `many` | a thousand documents on a new member |

mod ground;
mod held;
mod long;
mod many;
mod room;
mod typing;

use nexus_node::api::Problem;
use nexus_node_cli::ground::Printer;

pub(crate) use self::held::Hold;
pub(super) use self::typing::at_once;
use super::rows::Row;

/// Measures everything but the ten thousand characters of [`at_once`].
pub(super) async fn run(printer: &Printer) -> Result<Vec<Row>, Problem> {
    let mut rows = typing::at_speeds(printer).await?;
    rows.extend(room::run(printer).await?);
    rows.extend(many::run(printer).await?);
    rows.extend(long::run(printer).await?);
    Ok(rows)
}
