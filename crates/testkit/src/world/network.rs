//! Hosts of one machine: each a network namespace with its own address on one bridge, whose links can be cut in either direction.
//!
//! Always: nothing of it touches the machine's own network, and all of it goes with the value; what an earlier process that was
//! killed has left is removed first. Cut means silence: packets are lost and nobody is told.
//! Where namespaces cannot be made, hosts are addresses of the loopback, and links cannot be cut: the value says so and why.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NAMESPACES: &str = "/run/netns";
const PREFIX: &str = "testkit-";
/// The namespace of the bridge, where everything that hosts say to each other passes by.
const SWITCH: &str = "switch";
/// Nobody's: what is sent there is lost.
const NOBODY: &str = "02:00:00:00:00:fe";

/// The hosts.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    addresses: BTreeMap<String, Ipv4Addr>,
    loopback: Option<String>,
}

impl Network {
    /// Makes a host for each name.
    pub fn build(names: &[&str]) -> Network {
        match Network::of_namespaces(names) {
            Ok(network) => network,
            Err(error) => Network::of_loopback(names, format!("{error:#}")),
        }
    }

    fn of_namespaces(names: &[&str]) -> Result<Network> {
        remove_leftovers()?;
        let mut addresses = BTreeMap::new();
        for (number, name) in (1..).zip(names) {
            addresses.insert((*name).to_owned(), Ipv4Addr::new(10, 83, 0, number));
        }
        // From here on dropping it clears up, however far this gets.
        let network = Network {
            prefix: format!(
                "{PREFIX}{}-{:04x}-",
                std::process::id(),
                rand::random::<u16>()
            ),
            addresses,
            loopback: None,
        };
        let switch = network.namespace_called(SWITCH);
        ip(&["netns", "add", &switch])?;
        batch(
            &switch,
            "link set lo up\nlink add br0 type bridge\nlink set br0 up\n",
        )?;
        for (name, address) in &network.addresses {
            let namespace = network.namespace_called(name);
            let port = format!("p{}", address.octets()[3]);
            ip(&["netns", "add", &namespace])?;
            let link = format!(
                "link add {port} type veth peer name eth0 netns {namespace} address {}\nlink set {port} master br0\nlink set {port} up\n",
                hardware(*address)
            );
            batch(&switch, &link)?;
            let mut commands =
                format!("link set lo up\naddr add {address}/24 dev eth0\nlink set eth0 up\n");
            for other in network.addresses.values().filter(|other| *other != address) {
                commands.push_str(&neighbour(*other, &hardware(*other)));
            }
            batch(&namespace, &commands)?;
        }
        Ok(network)
    }

    fn of_loopback(names: &[&str], why: String) -> Network {
        // Two runs at a time get different addresses.
        let [high, low] = u16::try_from(std::process::id() % 0xff00)
            .unwrap_or_default()
            .to_be_bytes();
        let hosts = (1..).zip(names);
        Network {
            prefix: String::new(),
            addresses: hosts
                .map(|(number, name)| {
                    let address = Ipv4Addr::new(127, high | 1, low, number);
                    ((*name).to_owned(), address)
                })
                .collect(),
            loopback: Some(why),
        }
    }

    /// Why there are no namespaces, if there are none.
    pub fn why_loopback(&self) -> Option<&str> {
        self.loopback.as_deref()
    }

    /// The address of a host.
    pub fn address(&self, host: &str) -> Ipv4Addr {
        let known = self.addresses.get(host);
        *known.unwrap_or_else(|| panic!("there is no host {host}"))
    }

    /// The host with an address.
    pub fn host_at(&self, address: IpAddr) -> Option<&str> {
        let mut hosts = self.addresses.iter();
        hosts
            .find(|(_, own)| IpAddr::V4(**own) == address)
            .map(|(name, _)| name.as_str())
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.addresses.keys().map(String::as_str)
    }

    /// Where programs of a host are to be started, if it has a namespace.
    pub fn namespace(&self, host: &str) -> Option<PathBuf> {
        self.loopback
            .is_none()
            .then(|| PathBuf::from(NAMESPACES).join(self.namespace_called(host)))
    }

    /// From now on this thread, and what it starts, is on a host.
    pub fn enter(&self, host: &str) -> Result<()> {
        match self.namespace(host) {
            Some(path) => {
                let namespace = File::open(&path).with_context(|| path.display().to_string())?;
                setns(namespace, CloneFlags::CLONE_NEWNET)
                    .with_context(|| format!("{} cannot be entered", path.display()))
            }
            None => Ok(()),
        }
    }

    /// From now on this thread is where everything passes by.
    pub fn enter_switch(&self) -> Result<()> {
        self.enter(SWITCH)
    }

    /// A runtime whose threads are on a host. What is spawned runs there; what is blocked on does not.
    pub fn runtime(self: &std::sync::Arc<Network>, host: &str) -> Result<tokio::runtime::Runtime> {
        let (network, name) = (self.clone(), host.to_owned());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .on_thread_start(move || network.enter(&name).expect("the host is there"))
            .build()?;
        Ok(runtime)
    }

    /// What `from` sends to `to` is lost from now on.
    pub fn cut(&self, from: &str, to: &str) -> Result<()> {
        self.route(from, to, NOBODY)
    }

    /// What `from` sends to `to` arrives again.
    pub fn heal(&self, from: &str, to: &str) -> Result<()> {
        self.route(from, to, &hardware(self.address(to)))
    }

    fn route(&self, from: &str, to: &str, hardware: &str) -> Result<()> {
        if let Some(why) = &self.loopback {
            bail!("links of the loopback cannot be cut ({why})");
        }
        let command = neighbour(self.address(to), hardware);
        batch(&self.namespace_called(from), &command)
    }

    fn namespace_called(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if self.loopback.is_none() {
            let hosts = self.addresses.keys().map(String::as_str);
            for name in hosts.chain([SWITCH]) {
                remove(&self.namespace_called(name));
            }
        }
    }
}

/// Each host has a hardware address of its own, which follows from the other one.
fn hardware(address: Ipv4Addr) -> String {
    format!("02:00:00:00:00:{:02x}", address.octets()[3])
}

fn neighbour(address: Ipv4Addr, hardware: &str) -> String {
    format!("neigh replace {address} lladdr {hardware} dev eth0 nud permanent\n")
}

/// Those of processes that are no more.
fn remove_leftovers() -> Result<()> {
    let listed = ip(&["netns", "list"])?;
    for name in listed.lines().filter_map(|line| line.split(' ').next()) {
        let owner = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|owner| owner.parse::<u32>().ok());
        if let Some(owner) = owner
            && !PathBuf::from(format!("/proc/{owner}")).exists()
        {
            remove(name);
        }
    }
    Ok(())
}

/// Ends what runs in a namespace and removes it. There is nothing to be done if that fails: it may have gone already.
fn remove(namespace: &str) {
    for pid in ip(&["netns", "pids", namespace])
        .unwrap_or_default()
        .lines()
    {
        if let Ok(pid) = pid.parse()
            && u32::try_from(pid).ok() != Some(std::process::id())
        {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let _gone = ip(&["netns", "del", namespace]);
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new("ip").args(arguments), "")
}

/// Several commands in one namespace.
fn batch(namespace: &str, commands: &str) -> Result<()> {
    run(
        Command::new("ip").args(["-n", namespace, "-batch", "-"]),
        commands,
    )
    .map(drop)
}

fn run(command: &mut Command, input: &str) -> Result<String> {
    let told = format!("{command:?}").replace('"', "");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{told}: cannot be started; the package iproute2 has it"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that has ended early tells why below.
        let _broken = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{told}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
