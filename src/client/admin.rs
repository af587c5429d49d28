//! What administrators ask.

use super::{Client, Credentials, PAGE_SIZE, error, timed};
use crate::{
    error::Result,
    wire::proto::{self, admin_service_client::AdminServiceClient},
};
use tonic::{Request, Response, Status, service::interceptor::InterceptedService, transport::Channel};

/// The generated client of `larder.v1.AdminService` with the key on every call.
pub type AdminGrpc = AdminServiceClient<InterceptedService<Channel, Credentials>>;

impl Client {
    /// How every partition of the event log stands.
    pub async fn streams(&self) -> Result<Vec<proto::Stream>> {
        let request = proto::ListStreamsRequest {};
        let answer = self.admin(request, async |mut grpc, request| grpc.list_streams(request).await).await?;
        Ok(answer.streams)
    }

    /// Backfills of the caller's tenant.
    pub async fn backfills(&self) -> Result<Vec<proto::Backfill>> {
        let request = proto::ListBackfillsRequest {};
        let answer =
            self.admin(request, async |mut grpc, request| grpc.list_backfills(request).await).await?;
        Ok(answer.backfills)
    }

    /// Up to `limit` events that missed windows, and whether there are more; the page fields of the filter are ours.
    pub async fn late_events(
        &self,
        filter: proto::ListLateEventsRequest,
        limit: usize,
    ) -> Result<(Vec<proto::LateEvent>, bool)> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListLateEventsRequest {
                page_size: page_size(limit.saturating_sub(all.len())),
                page_token,
                ..filter.clone()
            };
            let page =
                self.admin(request, async |mut grpc, request| grpc.list_late_events(request).await).await?;
            all.extend(page.late_events);
            page_token = page.next_page_token;
            if page_token.is_empty() || all.len() >= limit {
                return Ok((all, !page_token.is_empty()));
            }
        }
    }

    /// Up to `limit` records that could not be used, and whether there are more.
    pub async fn dead_letters(&self, limit: usize) -> Result<(Vec<proto::DeadLetter>, bool)> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = proto::ListDeadLettersRequest {
                page_size: page_size(limit.saturating_sub(all.len())),
                page_token,
            };
            let page =
                self.admin(request, async |mut grpc, request| grpc.list_dead_letters(request).await).await?;
            all.extend(page.dead_letters);
            page_token = page.next_page_token;
            if page_token.is_empty() || all.len() >= limit {
                return Ok((all, !page_token.is_empty()));
            }
        }
    }

    async fn admin<A, B>(
        &self,
        message: A,
        call: impl AsyncFnOnce(AdminGrpc, Request<A>) -> Result<Response<B>, Status>,
    ) -> Result<B> {
        let answer = call(self.admin.clone(), timed(message)).await;
        answer.map(Response::into_inner).map_err(|status| error::from_status(&status))
    }
}

fn page_size(left: usize) -> i32 {
    i32::try_from(left).unwrap_or(PAGE_SIZE).clamp(1, PAGE_SIZE)
}
