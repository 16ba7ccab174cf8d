//! Documents of samod, beside ours.
//!
//! ```console
//! $ peers-samod each 2000          # a change for each character, 64 at most that the other end does not have yet
//! $ peers-samod together 10000     # the first at once, and then what comes within 20 ms as one change, 1,000 at most
//! $ peers-samod program ADDRESS    # a program whose sync server is at a WebSocket's address; it takes lines (`program`)
//! $ peers-samod serve DIRECTORY    # a sync server on a WebSocket, which keeps documents as files; it prints its address
//! ```

mod program;
mod serve;
mod socket;
mod typing;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["each", characters] => typing::run(false, characters.parse()?).await,
        ["together", characters] => typing::run(true, characters.parse()?).await,
        ["program", address] => program::run(address).await,
        ["serve", directory] => serve::run(directory).await,
        _ => bail!("peers-samod each|together CHARACTERS, program ADDRESS, or serve DIRECTORY"),
    }
}
