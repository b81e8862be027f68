//! One end of a dialled connection: what every driver needs, whoever it dials.
//!
//! Always: one request at a time; an answer to an earlier connection or request is passed over. Pauses between attempts are
//! those of the real nodes (`net::Backoff`).

use crate::kernel::{DriverStep, Happening, Kernel};
use crate::net::{Ask, ConnId, Packet, Toward};
use crate::place::Place;
use net::Backoff;
use std::time::Duration;

/// A request that is not answered for so long has failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that is silent for so long is broken.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
const LISTEN_PERIOD: Duration = Duration::from_secs(4);

/// One end of a connection.
#[derive(Debug)]
pub struct Line {
    /// Where it dials from.
    pub place: Place,
    /// Which driver it belongs to.
    pub driver: usize,
    /// Where it dials to.
    pub server: Place,
    /// Whether both are in one process.
    pub is_local: bool,
    /// Tells the connections apart, those of earlier lines too.
    pub generation: u64,
    /// The server's life when this connection was dialled: a later life knows nothing of it and sends nothing over it.
    server_life: u32,
    conn: Option<ConnId>,
    awaiting: Option<u64>,
    backoff: Backoff,
}

impl Line {
    /// One that has never dialled.
    pub fn new(place: Place, driver: usize, server: Place, is_local: bool) -> Line {
        let generation = 0;
        Line {
            place,
            driver,
            server,
            is_local,
            generation,
            server_life: 0,
            conn: None,
            awaiting: None,
            backoff: Backoff::new(),
        }
    }

    /// Begins a new connection.
    pub fn dial(&mut self, k: &mut Kernel) {
        self.generation = k.unique();
        self.awaiting = None;
        self.server_life = k.life(self.server);
        self.conn = Some(k.dial(self.place, self.server, self.is_local));
    }

    /// Sends a request; its answer is awaited.
    pub fn request(&mut self, k: &mut Kernel, ask: Ask) {
        let Some(conn) = self.conn else { return };
        let number = k.unique();
        self.awaiting = Some(number);
        k.send(conn, Toward::Server, Packet::Request { number, ask });
        if !self.is_local {
            self.plan(k, REQUEST_TIMEOUT, DriverStep::TimedOut(number));
        }
    }

    /// Begins to watch for silence.
    pub fn listen(&self, k: &mut Kernel) {
        if !self.is_local {
            self.plan(k, LISTEN_PERIOD, DriverStep::Listen(self.generation));
        }
    }

    /// Whether the stream has been silent for too long.
    pub fn is_silent(&self, k: &Kernel) -> bool {
        k.silence(self.server, self.place) >= IDLE_TIMEOUT
            || (k.life(self.server) != self.server_life && k.up_for(self.server) >= IDLE_TIMEOUT)
    }

    /// Whether this is the present connection.
    pub fn is(&self, conn: ConnId) -> bool {
        self.conn == Some(conn)
    }

    /// Whether this is the awaited answer; then it is awaited no longer.
    pub fn answers(&mut self, number: u64) -> bool {
        self.awaiting
            .take_if(|awaited| *awaited == number)
            .is_some()
    }

    /// Whether the answer to this request is still awaited.
    pub fn awaits(&self, number: u64) -> bool {
        self.awaiting == Some(number)
    }

    /// The connection has come about.
    pub fn connected(&mut self, k: &Kernel) {
        self.backoff.connected(Duration::from_micros(k.now.0));
    }

    /// Gives the connection up.
    pub fn hang_up(&mut self, k: &mut Kernel) {
        if let Some(conn) = self.conn.take() {
            k.net.close(conn);
        }
        self.awaiting = None;
        self.generation = k.unique();
    }

    /// Plans the next attempt.
    pub fn redial_later(&mut self, k: &mut Kernel) {
        #[expect(clippy::cast_precision_loss, reason = "a number below 1000")]
        let jitter = k.rng.below(1000) as f64 / 1000.0;
        let delay = self.backoff.failed(Duration::from_micros(k.now.0), jitter);
        self.plan(k, delay, DriverStep::Dial(self.generation));
    }

    /// Plans a step of the driver.
    pub fn plan(&self, k: &mut Kernel, delay: Duration, what: DriverStep) {
        let (place, driver) = (self.place, self.driver);
        let life = k.standing(place).life;
        k.after(
            delay,
            Happening::Driver {
                place,
                life,
                driver,
                what,
            },
        );
    }
}
