//! A line to a board by its name: a serial port, a TCP address (an emulator, a serial server), or bytes that were recorded.
//!
//! ```text
//! /dev/ttyACM0, COM3   a serial port, 8 data bits, no parity, one stop bit, no flow control
//! tcp:HOST:PORT        a socket
//! FILE or -            what came over a line once, to be read again; nothing can be asked
//! ```
//!
//! Reads give up after [`POLL`] with `TimedOut` or `WouldBlock`, as [`crate::link::Link`] wants it.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::Path;
use std::str::FromStr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use serialport::{SerialPort, SerialPortInfo, SerialPortType};

/// How long a read waits.
pub const POLL: Duration = Duration::from_millis(50);
/// How long a write or a connection may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// What boards speak at.
pub const BAUD: u32 = 115_200;

/// Where a board is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A serial port, or a file of bytes that came over one.
    Path(String),
    /// `HOST:PORT`.
    Tcp(String),
    /// Standard input.
    Input,
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        match (text, text.strip_prefix("tcp:")) {
            ("", _) => Err("found nothing, expected a serial port, tcp:HOST:PORT, a file or -".to_owned()),
            ("-", _) => Ok(Self::Input),
            (_, Some(address)) if port(address).is_some() => Ok(Self::Tcp(address.to_owned())),
            (_, Some(_)) => Err(format!("found `{text}`, expected tcp:HOST:PORT, such as tcp:localhost:4000")),
            (path, None) => Ok(Self::Path(path.to_owned())),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Input => f.write_str("standard input"),
        }
    }
}

/// An open line.
pub struct Line(Kind);

enum Kind {
    Serial(Box<dyn SerialPort>),
    Socket(TcpStream),
    /// What a thread reads, and what of it is yet to be handed over.
    Recorded(Receiver<io::Result<Vec<u8>>>, Vec<u8>),
}

impl Name {
    /// Opens it; a serial port at this rate.
    ///
    /// # Errors
    /// It is not there (with the ports that are), may not be used (with the command that changes it), or is in use.
    pub fn open(&self, baud: u32) -> Result<Line> {
        let kind = match self {
            Self::Tcp(address) => Kind::Socket(connect(address)?),
            Self::Input => recorded(io::stdin()),
            Self::Path(path) if Path::new(path).is_dir() => {
                bail!("{path} is a folder, expected a serial port, tcp:HOST:PORT, a file or -")
            }
            Self::Path(path) if is_recording(Path::new(path)) => {
                recorded(File::open(path).with_context(|| path.clone())?)
            }
            Self::Path(path) => {
                let port = serialport::new(path, baud).timeout(POLL).open();
                Kind::Serial(port.map_err(|error| explain(path, &error))?)
            }
        };
        Ok(Line(kind))
    }
}

/// Whether a path is no device: a file, a pipe.
fn is_recording(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        std::fs::metadata(path).is_ok_and(|there| !there.file_type().is_char_device())
    }
    #[cfg(not(unix))]
    path.is_file()
}

fn connect(address: &str) -> Result<TcpStream> {
    let places = address.to_socket_addrs().with_context(|| format!("tcp:{address}"))?;
    let mut last = anyhow!("the name has no address");
    for place in places {
        match TcpStream::connect_timeout(&place, PATIENCE) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(POLL))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last.context(format!("nobody answers at tcp:{address}")))
}

/// A thread reads: what it reads may make it wait for ever, and nobody else then.
fn recorded(mut from: impl Read + Send + 'static) -> Kind {
    let (send, receive) = sync_channel(4);
    std::thread::spawn(move || {
        loop {
            let mut bytes = vec![0; 1 << 12];
            let read = match from.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
                Ok(length) => {
                    bytes.truncate(length);
                    Ok(bytes)
                }
            };
            let last = read.as_ref().map_or(true, Vec::is_empty);
            if send.send(read).is_err() || last {
                return;
            }
        }
    });
    Kind::Recorded(receive, Vec::new())
}

fn explain(path: &str, error: &serialport::Error) -> anyhow::Error {
    match error.kind() {
        serialport::ErrorKind::Io(ErrorKind::PermissionDenied) => {
            anyhow!("no permission for {path}; run: {}", permission(Path::new(path)))
        }
        _ if !Path::new(path).exists() && cfg!(unix) => anyhow!("no serial port {path}; {}", there_are()),
        serialport::ErrorKind::NoDevice if cfg!(unix) => {
            anyhow!("{path} is in use by another program (`fuser {path}` names it)")
        }
        _ => anyhow!("{path} does not open: {error}; {}", there_are()),
    }
}

fn there_are() -> String {
    match &ports()[..] {
        [] => "there is none: connect a board or a serial adapter by USB".to_owned(),
        ports => format!("there are: {}", ports.join(", ")),
    }
}

/// The command that lets this user use a port: its group's, by name.
fn permission(path: &Path) -> String {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let group = std::fs::metadata(path).ok().map(|there| there.gid());
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        if let Some(name) = group.filter(|group| *group != 0).and_then(|group| group_name(&groups, group)) {
            return format!("sudo usermod -aG {name} \"$USER\", then log in anew");
        }
    }
    format!("sudo chmod a+rw {}", path.display())
}

/// `name:password:number:members`, a line each.
#[cfg(unix)]
fn group_name(groups: &str, number: u32) -> Option<&str> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    })
}

/// The serial ports of this machine, each with its USB device's name.
pub fn ports() -> Vec<String> {
    let mut ports: Vec<String> = serialport::available_ports().unwrap_or_default().iter().map(describe).collect();
    ports.sort();
    ports
}

fn describe(SerialPortInfo { port_name, port_type }: &SerialPortInfo) -> String {
    let SerialPortType::UsbPort(usb) = port_type else { return port_name.clone() };
    let words: Vec<&str> = [&usb.manufacturer, &usb.product].into_iter().flatten().map(|word| word.trim()).collect();
    match &words[..] {
        [] => format!("{port_name} (USB {:04x}:{:04x})", usb.vid, usb.pid),
        words => format!("{port_name} ({})", words.join(" ")),
    }
}

impl Line {
    /// Whether a board is at its other end, so that it can be asked.
    pub const fn answers(&self) -> bool {
        !matches!(self.0, Kind::Recorded(..))
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            // An adapter that was pulled out reads as a line that ended.
            Kind::Serial(port) => port.read(buffer),
            Kind::Socket(stream) => stream.read(buffer),
            Kind::Recorded(receive, rest) => {
                if rest.is_empty() {
                    *rest = match receive.recv_timeout(POLL) {
                        Ok(read) => read?,
                        Err(RecvTimeoutError::Timeout) => return Err(ErrorKind::TimedOut.into()),
                        Err(RecvTimeoutError::Disconnected) => return Ok(0),
                    };
                }
                let length = rest.len().min(buffer.len());
                buffer[..length].copy_from_slice(&rest[..length]);
                rest.drain(..length);
                Ok(length)
            }
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Serial(port) => port.write(bytes),
            Kind::Socket(stream) => stream.write(bytes),
            Kind::Recorded(..) => Err(io::Error::new(ErrorKind::Unsupported, "recorded bytes have nobody to ask")),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::Serial(port) => port.flush(),
            Kind::Socket(stream) => stream.flush(),
            Kind::Recorded(..) => Ok(()),
        }
    }
}

/// A rate on the command line.
///
/// # Errors
/// What was found and what was expected.
pub fn baud(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok().filter(|rate| (300..=4_000_000).contains(rate));
    rate.ok_or_else(|| format!("found `{text}`, expected a rate from 300 to 4000000 baud"))
}

/// For a command that must be answered.
///
/// # Errors
/// As [`Name::open`]; what is recorded cannot answer.
pub fn open_to_ask(name: &Name, baud: u32) -> Result<Line> {
    let line = name.open(baud)?;
    if !line.answers() {
        bail!("{name} is no board: found recorded bytes, expected a serial port or tcp:HOST:PORT");
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_nonsense_is_refused() {
        assert_eq!("/dev/ttyACM0".parse(), Ok(Name::Path("/dev/ttyACM0".to_owned())));
        assert_eq!("tcp:localhost:4000".parse(), Ok(Name::Tcp("localhost:4000".to_owned())));
        assert_eq!("tcp:[::1]:4000".parse(), Ok(Name::Tcp("[::1]:4000".to_owned())));
        assert_eq!("-".parse(), Ok(Name::Input));
        for wrong in ["", "tcp:", "tcp:host", "tcp:host:port", "tcp:host:70000"] {
            assert!(wrong.parse::<Name>().unwrap_err().contains("expected"), "{wrong}");
        }
        assert_eq!(baud("9600"), Ok(9_600));
        assert!(baud("fast").is_err() && baud("1").is_err());
    }

    #[test]
    fn what_does_not_open_is_said_with_what_there_is() {
        let error = |name: &str| format!("{:#}", name.parse::<Name>().unwrap().open(BAUD).err().unwrap());
        let missing = error("/dev/ttyNOWHERE");
        assert!(missing.starts_with("no serial port /dev/ttyNOWHERE; there "), "{missing}");
        // A port that nobody listens at: it was ours, and is closed.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let nobody = error(&format!("tcp:{address}"));
        assert!(nobody.starts_with(&format!("nobody answers at tcp:{address}: ")), "{nobody}");
    }

    #[cfg(unix)]
    #[test]
    fn a_group_is_named_by_its_number() {
        let groups = "root:x:0:\ndialout:x:20:ann,ben\nnonsense\nuucp:x:14:\n";
        assert_eq!(group_name(groups, 20), Some("dialout"));
        assert_eq!(group_name(groups, 14), Some("uucp"));
        assert_eq!(group_name(groups, 5), None);
    }

    #[test]
    fn recorded_bytes_come_in_order_and_end() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|index| index as u8).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let name = Name::Path(file.path().display().to_string());
        let mut line = name.open(BAUD).unwrap();
        let mut read = Vec::new();
        line.read_to_end(&mut read).unwrap();
        assert_eq!(read, bytes);
        assert!(!line.answers() && line.write(b"?").is_err());
        assert!(open_to_ask(&name, BAUD).is_err());
    }

    /// A pair of pseudo-terminals is a serial cable.
    #[cfg(unix)]
    #[test]
    fn a_serial_port_carries_any_byte_and_is_ours_alone() {
        let (mut other, near) = serialport::TTYPort::pair().unwrap();
        let path = near.name().unwrap();
        drop(near);
        let name: Name = path.parse().unwrap();
        let mut line = name.open(BAUD).unwrap();
        let all: Vec<u8> = (0..=255).collect();
        other.write_all(&all).unwrap();
        let mut read = vec![0; 256];
        line.read_exact(&mut read).unwrap();
        assert_eq!(read, all);
        line.write_all(&all).unwrap();
        other.set_timeout(Duration::from_secs(5)).unwrap();
        other.read_exact(&mut read).unwrap();
        assert_eq!(read, all);
        assert_eq!(line.read(&mut read).unwrap_err().kind(), ErrorKind::TimedOut);
        // Who may do anything opens it all the same.
        if let Err(error) = name.open(BAUD) {
            assert!(error.to_string().contains("in use by another program"), "{error:#}");
        }
    }
}
