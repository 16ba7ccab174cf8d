//! The protocols that a stream may be negotiated to at the gate: hello, and the inner ones once it is open.

use crate::libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use crate::libp2p::swarm::Stream;
use crate::libp2p::swarm::handler::{InboundUpgradeSend, OutboundUpgradeSend, UpgradeInfoSend};
use futures::FutureExt;
use futures::future::{self, BoxFuture};

/// The protocol of hello.
pub(super) const HELLO: &str = "/nexus/hello/1";

/// Hello, an inner upgrade, or both.
pub(crate) struct Doorway<U> {
    hello: bool,
    inner: Option<U>,
}

impl<U> Doorway<U> {
    pub(super) fn hello() -> Self {
        Self { hello: true, inner: None }
    }

    pub(super) fn inner(inner: U) -> Self {
        Self { hello: false, inner: Some(inner) }
    }

    pub(super) fn both(inner: U) -> Self {
        Self { hello: true, inner: Some(inner) }
    }
}

/// The name of a negotiated protocol.
#[derive(Clone, Debug)]
pub(crate) enum Via<I> {
    /// Hello's name.
    Hello,
    /// The name of an inner protocol.
    Inner(I),
}

impl<I: AsRef<str>> AsRef<str> for Via<I> {
    fn as_ref(&self) -> &str {
        match self {
            Self::Hello => HELLO,
            Self::Inner(info) => info.as_ref(),
        }
    }
}

/// The result of a negotiation.
pub(crate) enum Passed<O> {
    /// A stream for a hello.
    Hello(Stream),
    /// The result of the inner upgrade.
    Inner(O),
}

impl<U: UpgradeInfoSend> UpgradeInfo for Doorway<U> {
    type Info = Via<U::Info>;
    type InfoIter = std::vec::IntoIter<Self::Info>;

    fn protocol_info(&self) -> Self::InfoIter {
        let inner = self.inner.iter().flat_map(UpgradeInfoSend::protocol_info).map(Via::Inner);
        self.hello.then_some(Via::Hello).into_iter().chain(inner).collect::<Vec<_>>().into_iter()
    }
}

impl<U: InboundUpgradeSend> InboundUpgrade<Stream> for Doorway<U> {
    type Output = Passed<U::Output>;
    type Error = U::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_inbound(self, socket: Stream, info: Self::Info) -> Self::Future {
        match (info, self.inner) {
            (Via::Hello, _) => future::ready(Ok(Passed::Hello(socket))).boxed(),
            (Via::Inner(info), Some(inner)) => {
                inner.upgrade_inbound(socket, info).map(|output| output.map(Passed::Inner)).boxed()
            }
            // an inner name is only offered with an inner upgrade; this never completes, and times out
            (Via::Inner(_), None) => future::pending().boxed(),
        }
    }
}

impl<U: OutboundUpgradeSend> OutboundUpgrade<Stream> for Doorway<U> {
    type Output = Passed<U::Output>;
    type Error = U::Error;
    type Future = BoxFuture<'static, Result<Self::Output, Self::Error>>;

    fn upgrade_outbound(self, socket: Stream, info: Self::Info) -> Self::Future {
        match (info, self.inner) {
            (Via::Hello, _) => future::ready(Ok(Passed::Hello(socket))).boxed(),
            (Via::Inner(info), Some(inner)) => {
                inner.upgrade_outbound(socket, info).map(|output| output.map(Passed::Inner)).boxed()
            }
            (Via::Inner(_), None) => future::pending().boxed(),
        }
    }
}
