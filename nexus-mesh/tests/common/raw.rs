//! A peer without our code above the multiplexer: it shows what a hostile stock node can do.

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Multiaddr;
use libp2p::core::Endpoint;
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt, SubstreamBox};
use libp2p::core::transport::{DialOpts, PortUse, Transport};
use nexus_identity::Keypair;
use nexus_mesh::BoxedTransport;
use tokio::sync::{mpsc, oneshot};

pub struct Raw {
    open: mpsc::Sender<oneshot::Sender<SubstreamBox>>,
    pub closed: oneshot::Receiver<()>,
}

impl Raw {
    pub async fn dial(transport: BoxedTransport, address: Multiaddr) -> Self {
        Self::try_dial(transport, address).await.expect("the other side answers")
    }

    /// A connection, unless the other side hangs up before there is one.
    pub async fn try_dial(mut transport: BoxedTransport, address: Multiaddr) -> Option<Self> {
        let options = DialOpts { role: Endpoint::Dialer, port_use: PortUse::New };
        let mut dial = transport.dial(address, options).unwrap();
        let (_, muxer) = poll_fn(|cx| {
            let _ = std::pin::Pin::new(&mut transport).poll(cx);
            std::pin::Pin::new(&mut dial).poll(cx)
        })
        .await
        .ok()?;
        let (open, requests) = mpsc::channel(1_000);
        let (gone, closed) = oneshot::channel();
        tokio::spawn(drive(transport, muxer, requests, gone));
        Some(Self { open, closed })
    }

    pub async fn stream(&self) -> SubstreamBox {
        let (reply, stream) = oneshot::channel();
        self.open.send(reply).await.unwrap();
        stream.await.expect("the connection is open")
    }

    /// Negotiates one protocol by hand. Returns the stream, or the answer; "reset" if there is none.
    pub async fn negotiate(&self, protocol: &str) -> Result<SubstreamBox, String> {
        let mut stream = self.stream().await;
        for line in ["/multistream/1.0.0", protocol] {
            try_say(&mut stream, line).await.map_err(|_| "reset".to_owned())?;
        }
        let mut answer = String::new();
        for _ in 0..2 {
            answer = try_hear(&mut stream).await.map_err(|_| "reset".to_owned())?;
        }
        if answer == format!("{protocol}\n") { Ok(stream) } else { Err(answer) }
    }

    /// Waits until the other side has closed the connection.
    pub async fn until_closed(&mut self) {
        let closed = tokio::time::timeout(Duration::from_secs(120), &mut self.closed).await;
        let _ = closed.expect("the other side hangs up");
    }
}

async fn drive(
    mut transport: BoxedTransport,
    mut muxer: StreamMuxerBox,
    mut requests: mpsc::Receiver<oneshot::Sender<SubstreamBox>>,
    _gone: oneshot::Sender<()>,
) {
    let mut wanted: Vec<oneshot::Sender<SubstreamBox>> = Vec::new();
    poll_fn(|cx| {
        let _ = std::pin::Pin::new(&mut transport).poll(cx);
        while let Poll::Ready(request) = requests.poll_recv(cx) {
            match request {
                Some(request) => wanted.push(request),
                None => return Poll::Ready(()),
            }
        }
        while !wanted.is_empty() {
            match muxer.poll_outbound_unpin(cx) {
                Poll::Ready(Ok(stream)) => {
                    let _ = wanted.remove(0).send(stream);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(inbound) = muxer.poll_inbound_unpin(cx) {
            if inbound.is_err() {
                return Poll::Ready(());
            }
        }
        match muxer.poll_unpin(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
}

pub async fn say(stream: &mut SubstreamBox, text: &str) {
    try_say(stream, text).await.unwrap();
}

async fn try_say(stream: &mut SubstreamBox, text: &str) -> io::Result<()> {
    let line = format!("{text}\n");
    assert!(line.len() < 128);
    let mut bytes = vec![u8::try_from(line.len()).unwrap()];
    bytes.extend(line.as_bytes());
    stream.write_all(&bytes).await?;
    stream.flush().await
}

/// One message of multistream-select.
pub async fn hear(stream: &mut SubstreamBox) -> String {
    try_hear(stream).await.unwrap()
}

async fn try_hear(stream: &mut SubstreamBox) -> io::Result<String> {
    let mut len = 0_usize;
    for shift in [0, 7, 14] {
        let mut byte = [0];
        stream.read_exact(&mut byte).await?;
        len |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] < 128 {
            break;
        }
    }
    let mut text = vec![0; len];
    stream.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

pub fn transport_for(listen: &str, key: &Keypair) -> BoxedTransport {
    if listen == super::MEMORY { super::memory_transport(key) } else { nexus_mesh::tcp_quic_transport(key).unwrap() }
}
