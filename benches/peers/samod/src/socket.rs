//! samod over a WebSocket. Its own feature for that brings TLS of the system, which nothing here needs.

use std::future::ready;

use futures::future::BoxFuture;
use futures::{FutureExt, SinkExt, StreamExt};
use samod::{DialError, Dialer, Transport, Url};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A socket as samod takes it: each message is one of automerge-repo's protocol.
pub fn transport<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(socket: WebSocketStream<S>) -> Transport {
    let (sink, stream) = socket.split();
    let stream = stream.filter_map(|heard| {
        ready(match heard {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes.to_vec())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    });
    Transport::new(stream, sink.with(|bytes: Vec<u8>| ready(Ok::<_, Error>(Message::Binary(bytes.into())))))
}

/// The way to a server.
pub struct To(pub Url);

impl Dialer for To {
    type Error = std::convert::Infallible;

    fn url(&self) -> Url {
        self.0.clone()
    }

    fn connect(&self) -> BoxFuture<'static, Result<Transport, DialError<Self::Error>>> {
        let address = self.0.to_string();
        async move {
            let (socket, _) = tokio_tungstenite::connect_async(address).await.map_err(DialError::transient)?;
            Ok(transport(socket))
        }
        .boxed()
    }
}
