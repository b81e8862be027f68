//! One connection between two members: questions and answers in frames, in both directions.
//!
//! Always: a frame is a length and a message; a question is answered once or never; when the connection breaks all who wait hear
//! so at once; one on which nothing comes any more is given up, since both sides say now and then that they live. Never here: who dialled, and whether the other side may speak; both are settled before.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::poll_immediate;
use openraft::alias::{SnapshotMetaOf, VoteOf};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::member::Hello;
use crate::raft::Types;
use crate::rules;

/// A frame may hold a batch of the greatest size and what is around it.
const FRAME_BYTES_MAX: usize = 256 << 20;
/// Frames that wait to be written; senders wait beyond.
const FRAMES_WAITING: usize = 64;
/// Frames are written together up to this size.
const WRITE_BYTES: usize = 1 << 20;
/// How long a refused process has to read the reason.
const FAREWELL: Duration = Duration::from_secs(1);
/// The number of the answer that contains the reason of a refusal. No question has this number.
const REFUSAL: u64 = 0;
/// Frames are read together up to this size.
const READ_BYTES: usize = 64 << 10;

/// What one member asks the other.
#[derive(Serialize, Deserialize)]
pub(crate) enum Ask {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    Transfer(TransferLeaderRequest<Types>),
    /// A piece of a snapshot file.
    Piece {
        offset: u64,
        bytes: Bytes,
    },
    /// The pieces are complete. Without a file, for a watch, there are none.
    Snapshot {
        vote: VoteOf<Types>,
        meta: SnapshotMetaOf<Types>,
        has_file: bool,
    },
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Answer {
    Append(AppendEntriesResponse<Types>),
    Vote(VoteResponse<Types>),
    Snapshot(SnapshotResponse<Types>),
    Done,
    Refused(String),
}

#[derive(Serialize, Deserialize)]
enum Frame {
    Hello(Hello),
    Ask(u64, Ask),
    Answer(u64, Answer),
    /// There was nothing to say for a while.
    Alive,
}

/// Answers what the other side asks.
pub(crate) trait Answering: Send + Sync + 'static {
    /// Returns the reason of a refusal if the other side is a second process of a member that is connected. The reason is sent to that
    /// process.
    fn double(&self, _hello: &Hello) -> Option<String> {
        None
    }
    /// Takes the other side in, or says why not.
    fn hello(&self, hello: &Hello) -> Result<(), String>;
    /// The other side, which was taken in before, tells it anew: its log has other members now. Or says why it may speak no more.
    fn renewed(&self, hello: &Hello) -> Result<(), String>;
    /// The other side has asked something, or has nothing to say but lives.
    fn lives(&self, from: u64);
    fn answer(self: Arc<Self>, from: u64, ask: Ask) -> impl Future<Output = Answer> + Send;
}

type Waiting = Mutex<HashMap<u64, oneshot::Sender<Answer>>>;

/// The asking end of a connection. It is gone when the connection is.
pub(crate) struct Link {
    frames: mpsc::Sender<Vec<u8>>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Link {
    /// Asks; nothing when the connection breaks or the answer takes longer than `within`.
    pub(crate) async fn ask(self: Arc<Self>, ask: Ask, within: Duration) -> Option<Answer> {
        let asked = async { self.put(ask).await?.answer().await };
        timeout(within, asked).await.ok().flatten()
    }

    /// Puts a question; questions reach the other side in the order in which they were put. Nothing when the connection broke.
    pub(crate) async fn put(self: Arc<Self>, ask: Ask) -> Option<Question> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting().insert(number, sender);
        let question = Question {
            link: self,
            number,
            answer,
        };
        let frame = frame_of(&Frame::Ask(number, ask));
        question.link.frames.send(frame).await.ok()?;
        Some(question)
    }

    /// Tells anew who speaks. Nothing is lost when the connection is full or breaks: the next one begins with it.
    pub(crate) fn tell(&self, me: &Hello) {
        let _not_now = self.frames.try_send(frame_of(&Frame::Hello(me.clone())));
    }

    /// Returns whether the connection has ended.
    pub(crate) fn is_closed(&self) -> bool {
        self.frames.is_closed()
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that was put. Dropped, its answer is not waited for.
pub(crate) struct Question {
    link: Arc<Link>,
    number: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Question {
    /// The answer; nothing when the connection breaks before.
    pub(crate) async fn answer(mut self) -> Option<Answer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.link.waiting().remove(&self.number);
    }
}

fn frame_of(frame: &Frame) -> Vec<u8> {
    let mut bytes = postcard::to_extend(frame, vec![0; 4]).expect("memory takes every message");
    if let Frame::Hello(Hello { run: Some(run), .. }) = frame {
        bytes = postcard::to_extend(run, bytes).expect("memory takes every message");
    }
    let length = u32::try_from(bytes.len() - 4).expect("a batch is bounded");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// It broke, or the other side closed it.
    #[error("the connection between the members broke: {0}")]
    Broken(#[from] std::io::Error),
    /// Nothing comes any more.
    #[error(
        "nothing has come from the other member for {0:?}: it hangs, or the network between loses everything"
    )]
    Silent(Duration),
    /// The other side is not what it should be.
    #[error("{0}")]
    Refused(String),
    /// One side is a second process of a member that is connected with the other side.
    #[error("{0}")]
    Double(String),
}

/// Speaks over `io` until it breaks. `opened` is told when both sides have said who they are.
pub(crate) async fn speak<A: Answering>(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    me: &Hello,
    answering: Arc<A>,
    opened: impl FnOnce(&Hello, &Arc<Link>) + Send,
) -> (Option<Hello>, LinkEnd) {
    let (reading, mut writing) = tokio::io::split(io);
    let mut reading = BufReader::with_capacity(READ_BYTES, reading);
    // First of all: also one that is refused hears who has refused it.
    let greeting = frame_of(&Frame::Hello(me.clone()));
    let greeted = async {
        writing.write_all(&greeting).await?;
        writing.flush().await
    };
    if let Err(broken) = greeted.await {
        return (None, LinkEnd::Broken(broken));
    }
    let (frames, mut to_write) = mpsc::channel::<Vec<u8>>(FRAMES_WAITING);
    let pace = rules::sign_of_life(&me.timing);
    let writer = async move {
        let mut bytes = Vec::new();
        loop {
            let frame = match timeout(pace, to_write.recv()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok::<(), std::io::Error>(()),
                Err(_quiet) => frame_of(&Frame::Alive),
            };
            bytes.extend_from_slice(&frame);
            while bytes.len() < WRITE_BYTES
                && let Ok(frame) = to_write.try_recv()
            {
                bytes.extend_from_slice(&frame);
            }
            writing.write_all(&bytes).await?;
            writing.flush().await?;
            bytes.clear();
        }
    };
    let link = Arc::new(Link {
        frames: frames.clone(),
        waiting: Waiting::default(),
        next: AtomicU64::new(1),
    });
    let mut other = None;
    let reader = async {
        let within = rules::link_silence(&me.timing, &me.timing);
        let Frame::Hello(hello) = read_frame(&mut reading, within).await? else {
            return Err(LinkEnd::Refused(
                "the other side did not say who it is".to_owned(),
            ));
        };
        if let Some(told) = answering.double(&hello) {
            let refusal = Frame::Answer(REFUSAL, Answer::Refused(told.clone()));
            // The other side closes the connection after it has read this. A process of an earlier version does not understand it.
            if frames.send(frame_of(&refusal)).await.is_ok() {
                let reading = async { while read_frame(&mut reading, within).await.is_ok() {} };
                drop(timeout(FAREWELL, reading).await);
            }
            return Err(LinkEnd::Double(told));
        }
        answering.hello(&hello).map_err(LinkEnd::Refused)?;
        let from = hello.member;
        let within = rules::link_silence(&me.timing, &hello.timing);
        opened(&hello, &link);
        other = Some(hello);
        loop {
            match read_frame(&mut reading, within).await? {
                Frame::Hello(hello) if hello.member == from => {
                    answering.renewed(&hello).map_err(LinkEnd::Refused)?;
                }
                Frame::Hello(_) => {}
                Frame::Alive => answering.lives(from),
                Frame::Answer(REFUSAL, Answer::Refused(told)) => return Err(LinkEnd::Double(told)),
                Frame::Answer(number, answer) => {
                    let waiting = link.waiting().remove(&number);
                    // Whoever asked may have given up.
                    let _unheard = waiting.map(|waiting| waiting.send(answer));
                }
                Frame::Ask(number, ask) => {
                    answering.lives(from);
                    let (answering, frames) = (Arc::clone(&answering), frames.clone());
                    let mut answered = Box::pin(async move {
                        let answer = answering.answer(from, ask).await;
                        // A broken connection needs no answer.
                        let _gone = frames.send(frame_of(&Frame::Answer(number, answer))).await;
                    });
                    // Begun here, one after the other: entries reach consensus in the order in which they were sent.
                    if poll_immediate(&mut answered).await.is_none() {
                        tasks::spawn("member-answer", answered);
                    }
                }
            }
        }
    };
    let end = tokio::select! {
        read = reader => match read {
            Ok(never) => never,
            Err(end) => end,
        },
        written = writer => LinkEnd::Broken(written.err().unwrap_or_else(|| std::io::ErrorKind::BrokenPipe.into())),
    };
    link.waiting().clear();
    (other, end)
}

/// Asks who is at the other end, and says no more.
pub(crate) async fn ask_who(
    mut io: impl AsyncRead + AsyncWrite + Unpin,
    me: &Hello,
) -> Result<Hello, LinkEnd> {
    io.write_all(&frame_of(&Frame::Hello(me.clone()))).await?;
    io.flush().await?;
    let within = rules::link_silence(&me.timing, &me.timing);
    match read_frame(&mut io, within).await? {
        Frame::Hello(hello) => Ok(hello),
        Frame::Ask(..) | Frame::Answer(..) | Frame::Alive => Err(LinkEnd::Refused(
            "the other side did not say who it is".to_owned(),
        )),
    }
}

/// The next frame. What is long may take its time, as long as something comes `within` the time again and again.
async fn read_frame(
    reading: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> Result<Frame, LinkEnd> {
    let mut length = [0; 4];
    read_all(reading, &mut length, within).await?;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(LinkEnd::Refused(format!(
            "a frame of {length} bytes is too long"
        )));
    }
    let mut bytes = vec![0; length];
    read_all(reading, &mut bytes, within).await?;
    let (mut frame, rest) = postcard::take_from_bytes(&bytes)
        .map_err(|error| LinkEnd::Refused(format!("a frame cannot be read: {error}")))?;
    if let Frame::Hello(hello) = &mut frame
        && !rest.is_empty()
    {
        // A later version may send more, which is ignored.
        hello.run = postcard::from_bytes(rest).ok();
    }
    Ok(frame)
}

async fn read_all(
    reading: &mut (impl AsyncRead + Unpin),
    mut bytes: &mut [u8],
    within: Duration,
) -> Result<(), LinkEnd> {
    while !bytes.is_empty() {
        let read = timeout(within, reading.read_buf(&mut bytes)).await;
        if read.map_err(|_elapsed| LinkEnd::Silent(within))?? == 0 {
            return Err(LinkEnd::Broken(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Part, Timing};
    use tokio::sync::Semaphore;

    /// Notes in which order questions come; answers when it is let.
    struct Slow {
        came: Mutex<Vec<u64>>,
        may_answer: Semaphore,
    }

    impl Answering for Slow {
        fn hello(&self, _: &Hello) -> Result<(), String> {
            Ok(())
        }

        fn renewed(&self, _: &Hello) -> Result<(), String> {
            Ok(())
        }

        fn lives(&self, _: u64) {}

        async fn answer(self: Arc<Self>, _: u64, ask: Ask) -> Answer {
            if let Ask::Piece { offset, .. } = ask {
                self.came.lock().unwrap().push(offset);
            }
            self.may_answer.acquire().await.unwrap().forget();
            Answer::Done
        }
    }

    fn hello(member: u64) -> Hello {
        Hello {
            cluster: "controller:Controller".to_owned(),
            member,
            name: format!("member {member}"),
            part: Part::Data,
            timing: Timing::default(),
            members: Vec::new(),
            members_since: None,
            url: None,
            run: None,
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn questions_are_begun_in_their_order_while_none_is_answered_yet() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let answering = nobody();
        let there = Arc::clone(&answering);
        tokio::spawn(async move { speak(far, &hello(2), there, |_, _| ()).await });
        let (opened, link) = oneshot::channel();
        tokio::spawn(async move {
            speak(near, &hello(1), nobody(), move |_, link| {
                drop(opened.send(Arc::clone(link)));
            })
            .await
        });
        let link = link.await.expect("it is opened");
        let mut questions = Vec::new();
        for offset in 0..500 {
            let bytes = Bytes::new();
            questions.push(Arc::clone(&link).put(Ask::Piece { offset, bytes }).await);
        }
        answering.may_answer.add_permits(500);
        for question in questions {
            let answer = question.expect("it went out").answer().await;
            assert!(matches!(answer, Some(Answer::Done)));
        }
        let came = answering.came.lock().unwrap().clone();
        assert_eq!(came, (0..500).collect::<Vec<_>>());
        assert!(link.waiting().is_empty());
    }

    fn nobody() -> Arc<Slow> {
        Arc::new(Slow {
            came: Mutex::default(),
            may_answer: Semaphore::new(0),
        })
    }

    fn hello_with(member: u64, silence_max: Duration) -> Hello {
        let mut hello = hello(member);
        hello.timing.silence_max = silence_max;
        hello
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_comes_any_more_is_given_up() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let me = hello_with(1, Duration::from_millis(20));
        let greeting = frame_of(&Frame::Hello(hello_with(2, me.timing.silence_max)));
        far.write_all(&greeting).await.unwrap();
        let (other, end) = speak(near, &me, nobody(), |_, _| ()).await;
        assert_eq!(other.unwrap().member, 2);
        assert!(matches!(end, LinkEnd::Silent(_)), "{end}");
        drop(far);
    }

    #[tokio::test]
    async fn a_member_that_has_nothing_to_say_says_that_it_lives() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let me = hello_with(1, Duration::from_millis(20));
        let listening = async {
            let within = Duration::from_mins(1);
            let greeting = read_frame(&mut far, within).await.unwrap();
            assert!(matches!(greeting, Frame::Hello(_)));
            let greeting = frame_of(&Frame::Hello(hello_with(2, within)));
            far.write_all(&greeting).await.unwrap();
            for _ in 0..3 {
                let quiet = read_frame(&mut far, within).await.unwrap();
                assert!(matches!(quiet, Frame::Alive));
            }
        };
        tokio::select! {
            () = listening => {}
            (_, end) = speak(near, &me, nobody(), |_, _| ()) => panic!("{end}"),
        }
    }

    #[tokio::test]
    async fn a_long_frame_may_come_slowly() {
        let (near, mut far) = tokio::io::duplex(1 << 20);
        let me = hello_with(1, Duration::from_millis(500));
        let within = rules::link_silence(&me.timing, &me.timing);
        let bytes = Bytes::from(vec![7; 40_000]);
        let long = frame_of(&Frame::Ask(1, Ask::Piece { offset: 3, bytes }));
        let trickling = async {
            far.write_all(&frame_of(&Frame::Hello(hello(2)))).await?;
            for piece in long.chunks(10_000) {
                tokio::time::sleep(within * 2 / 5).await;
                far.write_all(piece).await?;
            }
            Ok::<(), std::io::Error>(())
        };
        let here = nobody();
        let speaking = speak(near, &me, Arc::clone(&here), |_, _| ());
        let (trickled, (_, end)) = futures::future::join(trickling, speaking).await;
        trickled.unwrap();
        assert_eq!(*here.came.lock().unwrap(), [3]);
        assert!(matches!(end, LinkEnd::Silent(_)), "only then: {end}");
    }
}
