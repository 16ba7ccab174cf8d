//! etcd over its own gRPC: the few messages needed here, by hand.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::TcpStream;

use crate::Failure;

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
    #[prost(int64, tag = "3")]
    revision: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PutResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
}

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// One connection to a member.
pub struct Client {
    send: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Client {
    pub async fn open(address: &str) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (send, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { send, authority: address.to_owned() })
    }

    pub async fn put(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let put = PutRequest { key: key.into(), value: value.into() };
        let answer: PutResponse = self.call("/etcdserverpb.KV/Put", &put).await?;
        match answer.header {
            Some(header) if header.revision > 0 => Ok(()),
            _ => Err("an answer without a revision".into()),
        }
    }

    async fn leads(&mut self) -> Result<bool, Failure> {
        let status: StatusResponse = self.call("/etcdserverpb.Maintenance/Status", &StatusRequest {}).await?;
        Ok(status.header.is_some_and(|header| header.member_id == status.leader))
    }

    async fn call<A: Message + Default>(&mut self, path: &str, message: &impl Message) -> Result<A, Failure> {
        let mut body = BytesMut::with_capacity(message.encoded_len() + 5);
        body.put_u8(0);
        body.put_u32(message.encoded_len() as u32);
        message.encode(&mut body)?;
        let request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(body.freeze()))?;
        self.send.ready().await?;
        let answer = self.send.send_request(request).await?;
        let headers = answer.headers().clone();
        let body = answer.into_body().collect().await?;
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status")).or(headers.get("grpc-status"));
        if status.is_none_or(|status| status != "0") {
            return Err(format!("etcd refused: {status:?}").into());
        }
        let body = body.to_bytes();
        Ok(A::decode(body.get(5..).ok_or("a short answer")?)?)
    }
}

/// The leading member, by its place in the list.
pub async fn leader(addresses: &[String]) -> Result<usize, Failure> {
    for (n, address) in addresses.iter().enumerate() {
        if Client::open(address).await?.leads().await? {
            return Ok(n);
        }
    }
    Err("no member of etcd leads".into())
}
