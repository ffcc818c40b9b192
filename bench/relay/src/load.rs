//! The load generator: a fixed number of keep-alive connections, each with one request in flight.
//! It checks every answer, and reads the subject's processor time at the very moments between which
//! it counts requests.

use std::{
    cell::{Cell, RefCell},
    fs, io,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{fill, invalid};

/// The size of the origin's page.
const BODY: usize = 1024;

pub struct Plan {
    pub subject: SocketAddr,
    pub connections: u32,
    pub warm_up: Duration,
    pub measure: Duration,
    /// The process whose processor time is read.
    pub pid: u32,
}

#[derive(Default)]
struct Tally {
    requests: Cell<u64>,
    latencies_us: RefCell<Vec<u32>>,
}

/// Runs the plan; the answer is one JSON object. Any wrong answer and any closed connection is an
/// error: a subject that drops work is not to look fast.
pub async fn run(plan: Plan) -> io::Result<String> {
    let tally = Rc::new(Tally::default());
    let request: Rc<[u8]> = format!(
        "GET /1k?page=7 HTTP/1.1\r\n\
         host: {}\r\n\
         user-agent: millrace-bench\r\n\
         accept: */*\r\n\
         accept-encoding: gzip, br\r\n\
         x-request-id: 7c9e6679-7425-40de-944b-e07fc1f90ae7\r\n\
         cookie: sid=0123456789abcdef; theme=dark\r\n\r\n",
        plan.subject
    )
    .into_bytes()
    .into();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..plan.connections {
        clients.spawn_local(client(plan.subject, request.clone(), tally.clone()));
    }
    tokio::select! {
        figures = measure(&plan, &tally) => figures,
        ended = clients.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(invalid("a client ended early")),
        },
    }
}

async fn measure(plan: &Plan, tally: &Tally) -> io::Result<String> {
    tokio::time::sleep(plan.warm_up).await;
    tally.requests.set(0);
    tally.latencies_us.borrow_mut().clear();
    let (start, cpu_before) = (Instant::now(), cpu_ns(plan.pid)?);
    tokio::time::sleep(plan.measure).await;
    let (requests, cpu) = (tally.requests.get(), cpu_ns(plan.pid)? - cpu_before);
    let seconds = start.elapsed().as_secs_f64();
    let mut latencies = tally.latencies_us.take();
    latencies.sort_unstable();
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).unwrap_or(&0);
    Ok(format!(
        "{{\"requests\":{requests},\"requestsPerSecond\":{:.0},\"cpuMicros\":{:.3},\
         \"p50Micros\":{},\"p99Micros\":{}}}",
        requests as f64 / seconds,
        cpu as f64 / 1e3 / requests.max(1) as f64,
        at(0.5),
        at(0.99),
    ))
}

/// What all threads of the process have spent on a processor so far.
fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the two reads.
        let Ok(line) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        let first = line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok());
        sum += first.ok_or_else(|| invalid("schedstat cannot be read"))?;
    }
    Ok(sum)
}

async fn client(subject: SocketAddr, request: Rc<[u8]>, tally: Rc<Tally>) -> io::Result<()> {
    let mut stream = TcpStream::connect(subject).await?;
    stream.set_nodelay(true)?;
    let mut input = Vec::with_capacity(16 * 1024);
    loop {
        let sent = Instant::now();
        stream.write_all(&request).await?;
        answer(&mut stream, &mut input).await?;
        tally.requests.set(tally.requests.get() + 1);
        tally.latencies_us.borrow_mut().push(sent.elapsed().as_micros() as u32);
    }
}

/// Reads one answer and nothing beyond it.
async fn answer(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<()> {
    input.clear();
    loop {
        fill(stream, input, false).await?;
        if let Some((head, framing)) = parse(input)? {
            let whole = match framing {
                Framing::Length(length) => {
                    let end = head + length;
                    while input.len() < end {
                        fill(stream, input, false).await?;
                    }
                    length == BODY && input.len() == end
                }
                Framing::Chunked => loop {
                    if let Some(length) = chunked(&input[head..])? {
                        break length == BODY;
                    }
                    fill(stream, input, false).await?;
                },
            };
            return if whole { Ok(()) } else { Err(invalid("an answer of the wrong length")) };
        }
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn parse(input: &[u8]) -> io::Result<Option<(usize, Framing)>> {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head) =
        response.parse(input).map_err(|error| invalid(&format!("a bad head: {error}")))?
    else {
        return Ok(None);
    };
    if response.code != Some(200) {
        let text = String::from_utf8_lossy(input);
        return Err(invalid(&format!("an answer that is no 200: {text}")));
    }
    let field = |name: &str| {
        let found = response.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.and_then(|field| std::str::from_utf8(field.value).ok())
    };
    if field("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Some((head, Framing::Chunked)));
    }
    let length = field("content-length").and_then(|value| value.parse().ok());
    let length = length.ok_or_else(|| invalid("an answer without a length"))?;
    Ok(Some((head, Framing::Length(length))))
}

/// The length of a chunked body, once all of it has come.
fn chunked(mut input: &[u8]) -> io::Result<Option<usize>> {
    let mut length = 0;
    loop {
        let (line, size) = match httparse::parse_chunk_size(input) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(invalid("a bad chunk")),
        };
        let size = size as usize;
        let Some(rest) = input.get(line + size + 2..) else { return Ok(None) };
        if size == 0 {
            return Ok(Some(length));
        }
        length += size;
        input = rest;
    }
}
