//! Closed loops against one server, over gRPC or HTTP/1.1.

use super::{
    Result,
    children::Child,
    shape::{self, Form, Shape},
};
use bytes::{Buf, BufMut, Bytes};
use larder::wire::proto::GetOnlineFeaturesResponse;
use prost::Message;
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

const GRPC_PATH: &str = "/larder.v1.FeatureService/GetOnlineFeatures";
pub const REST_PATH: &str = "/api/v1/features/online";

/// Prepared questions, and the bytes of an answer to one of them.
pub struct Load {
    rest: bool,
    requests: Arc<Vec<Bytes>>,
    reply: Bytes,
    key: String,
}

/// One round.
pub struct Outcome {
    pub answers: usize,
    pub wall: Duration,
    pub cpu: Duration,
    pub latencies_us: Vec<f64>,
}

impl Outcome {
    pub fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.answers as f64
    }

    pub fn rate(&self) -> f64 {
        self.answers as f64 / self.wall.as_secs_f64()
    }
}

impl Load {
    /// Asks once, to learn the schema's id and the answer's bytes.
    pub async fn prepare(larder: &Child, shape: &Shape) -> Result<Self> {
        let key = larder.key.clone();
        let mut load = Self {
            rest: matches!(shape.form, Form::Rest),
            requests: Arc::default(),
            reply: Bytes::new(),
            key,
        };
        let mut schema_id = 0;
        if let Form::Grpc { set, .. } = shape.form {
            let ask = Shape { entities: 1, form: Form::Grpc { schema_held: false, set } };
            load.set(&ask, 0);
            let answer = GetOnlineFeaturesResponse::decode(load.ask(larder.address, 0).await?)?;
            assert_eq!(
                answer.rows[0].statuses,
                vec![1; shape::GROUPS * shape::COLUMNS],
                "every cell is PRESENT"
            );
            schema_id = answer.schema_id;
        }
        load.set(shape, schema_id);
        load.reply = load.ask(larder.address, 0).await?;
        Ok(load)
    }

    pub fn reply(&self) -> Bytes {
        self.reply.clone()
    }

    fn set(&mut self, shape: &Shape, schema_id: u64) {
        let requests = shape::requests(shape, schema_id).into_iter();
        self.requests = Arc::new(if self.rest {
            requests.map(|body| http_request(&body, &self.key)).collect()
        } else {
            requests.map(Bytes::from).collect()
        });
    }

    async fn ask(&self, address: SocketAddr, request: usize) -> Result<Bytes> {
        Connection::open(self.rest, address, &self.key).await?.ask(&self.requests[request]).await
    }

    /// Closed loops for a while: `streams` of them on each of `connections`.
    pub async fn drive(
        &self,
        server: &Child,
        connections: usize,
        streams: usize,
        time: Duration,
    ) -> Result<Outcome> {
        let next = Arc::new(AtomicUsize::new(0));
        let mut loops = Vec::new();
        for _ in 0..connections {
            let connection = Connection::open(self.rest, server.address, &self.key).await?;
            loops.push(connection.clone_for(server.address).await?);
            for _ in 1..streams {
                loops.push(connection.clone_for(server.address).await?);
            }
        }
        let mut tasks: JoinSet<Result<Vec<f64>>> = JoinSet::new();
        let (cpu, start) = (server.cpu()?, Instant::now());
        let until = start + time;
        for mut connection in loops {
            let (next, requests) = (next.clone(), self.requests.clone());
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                let mut sent = Instant::now();
                while sent < until {
                    let request = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
                    connection.ask(request).await?;
                    let now = Instant::now();
                    latencies.push((now - sent).as_secs_f64() * 1e6);
                    sent = now;
                }
                Ok(latencies)
            });
        }
        let mut latencies_us = Vec::new();
        while let Some(done) = tasks.join_next().await {
            latencies_us.extend(done??);
        }
        let (wall, cpu) = (start.elapsed(), server.cpu()? - cpu);
        Ok(Outcome { answers: latencies_us.len(), wall, cpu, latencies_us })
    }
}

fn http_request(body: &[u8], key: &str) -> Bytes {
    let head = format!(
        "POST {REST_PATH} HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat().into()
}

/// One closed loop's way to the server.
enum Connection {
    Grpc { channel: Channel, key: tonic::metadata::MetadataValue<tonic::metadata::Ascii> },
    Http { stream: TcpStream, buffer: Vec<u8> },
}

impl Connection {
    async fn open(rest: bool, address: SocketAddr, key: &str) -> Result<Self> {
        if rest {
            return Self::http(address).await;
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .tcp_nodelay(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        Ok(Self::Grpc { channel: endpoint.connect().await?, key: key.parse()? })
    }

    async fn http(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::Http { stream, buffer: Vec::with_capacity(64 << 10) })
    }

    /// Another loop: a stream of the same HTTP/2 connection, or a connection of its own.
    async fn clone_for(&self, address: SocketAddr) -> Result<Self> {
        match self {
            Self::Grpc { channel, key } => Ok(Self::Grpc { channel: channel.clone(), key: key.clone() }),
            Self::Http { .. } => Self::http(address).await,
        }
    }

    async fn ask(&mut self, request: &Bytes) -> Result<Bytes> {
        match self {
            Self::Grpc { channel, key } => {
                let mut client =
                    tonic::client::Grpc::new(channel.clone()).max_decoding_message_size(64 << 20);
                client.ready().await?;
                let mut request = tonic::Request::new(request.clone());
                request.metadata_mut().insert("x-api-key", key.clone());
                let path = PathAndQuery::from_static(GRPC_PATH);
                Ok(client.unary(request, path, RawCodec).await?.into_inner())
            }
            Self::Http { stream, buffer } => {
                stream.write_all(request).await?;
                buffer.clear();
                read_answer(stream, buffer).await
            }
        }
    }
}

async fn read_answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Bytes> {
    let mut wanted = None;
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("the connection was closed".into());
        }
        if wanted.is_none()
            && let Some(head) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
        {
            let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
            if !text.starts_with("http/1.1 200") {
                return Err(String::from_utf8_lossy(buffer).into_owned().into());
            }
            let length = text.split("content-length: ").nth(1).ok_or("no content-length")?;
            let length: usize = length.split("\r\n").next().unwrap_or_default().parse()?;
            wanted = Some((head + 4, head + 4 + length));
            buffer.reserve(length);
        }
        if let Some((start, end)) = wanted
            && buffer.len() >= end
        {
            return Ok(Bytes::copy_from_slice(&buffer[start..end]));
        }
    }
}

/// Messages as bytes, in both directions.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawCodec;

impl Codec for RawCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        buf.reserve(item.len());
        buf.put_slice(&item);
        Ok(())
    }
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> std::result::Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}
