//! Bodies of answers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Interval;

use crate::shared::InFlight;

/// A body, and the mark that its request is still being answered: dropped with the body's last
/// byte.
pub(crate) struct Content {
    kind: Kind,
    in_flight: Option<InFlight>,
}

enum Kind {
    /// All of it at once.
    Whole(Option<Bytes>),
    /// One line per tick, until none are left.
    Lines { interval: Interval, sent: u64, total: u64, name: String },
}

impl Content {
    pub(crate) fn whole(text: impl Into<Bytes>) -> Self {
        Self { kind: Kind::Whole(Some(text.into())), in_flight: None }
    }

    pub(crate) fn lines(interval: Interval, total: u64, name: String) -> Self {
        Self { kind: Kind::Lines { interval, sent: 0, total, name }, in_flight: None }
    }

    pub(crate) fn until_sent(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.kind {
            Kind::Whole(bytes) => Poll::Ready(
                bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes))),
            ),
            Kind::Lines { sent, total, .. } if sent == total => Poll::Ready(None),
            Kind::Lines { interval, sent, total, name } => {
                ready!(interval.poll_tick(context));
                *sent += 1;
                Poll::Ready(Some(Ok(Frame::data(format!("{name} {sent}/{total}\n").into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Lines { sent, total, .. } => sent == total,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Kind::Lines { .. } => SizeHint::default(),
        }
    }
}
