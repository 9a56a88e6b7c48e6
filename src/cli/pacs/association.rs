//! An association with a DIMSE peer (PS3.7, PS3.8): commands and data sets, piece by piece.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use dicom::core::{DataElement, PrimitiveValue, Tag, VR};
use dicom::dictionary_std::tags;
use dicom::encoding::TransferSyntaxIndex as _;
use dicom::object::InMemDicomObject;
use dicom::transfer_syntax::TransferSyntaxRegistry;
// PS3.7 6.3.1: what commands are written in.
use dicom::transfer_syntax::entries::IMPLICIT_VR_LITTLE_ENDIAN;
use dicom_ul::association::{Association as _, ClientAssociation, ClientAssociationOptions, Error as UpperLayer};
use dicom_ul::pdu::{
    AbortRQSource, AssociationRJResult, AssociationRJServiceUserReason as User, AssociationRJSource, PDataValue,
    PDataValueType, Pdu,
};

use super::address::Dimse;
use super::line::Line;
use super::trouble::{Result, Trouble, causes};

/// Bytes of a protocol data unit that are received, and the most that are sent, at once.
const UNIT: u32 = 128 << 10;
/// Of a unit with one value, before its data (PS3.8 9.3.5).
const HEADERS: u32 = 12;
/// Commands, and identifiers of queries, are far smaller.
const LONGEST_COMMAND: usize = 1 << 20;
/// PS3.7 E.1: no data set follows the command.
const NO_DATA_SET: u16 = 0x0101;

/// How often, and how long apart, a peer is asked once more that has no room for an association at the moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

/// What is proposed: an abstract syntax and transfer syntaxes, of which the peer takes one.
pub struct Proposal<'a> {
    pub class: &'a str,
    pub syntaxes: &'a [&'a str],
}

/// A presentation context that the peer took.
#[derive(Debug, Clone)]
pub struct Context {
    pub id: u8,
    pub class: String,
    pub syntax: String,
}

pub struct Association<'a> {
    inner: ClientAssociation<TcpStream>,
    line: &'a Line,
    /// Received and not yet used.
    values: VecDeque<PDataValue>,
    contexts: Vec<Context>,
    message_id: u16,
}

/// A command and the context that it came in.
pub struct Command {
    pub context: u8,
    pub set: InMemDicomObject,
}

impl<'a> Association<'a> {
    /// `roles` are classes that the peer shall send to us (PS3.7 D.3.3.4). `None`: it takes none of the proposals.
    pub fn open(
        peer: &Dimse,
        calling: &str,
        patience: Duration,
        proposals: &[Proposal],
        roles: &[&str],
        line: &'a Line,
    ) -> Result<Option<Self>> {
        let establish = || {
            let mut options = ClientAssociationOptions::new()
                .calling_ae_title(calling)
                .called_ae_title(peer.title.as_str())
                .max_pdu_length(UNIT)
                .connection_timeout(patience)
                .read_timeout(patience)
                .write_timeout(patience);
            for proposal in proposals {
                options = options.with_presentation_context(proposal.class, proposal.syntaxes.to_vec());
            }
            for class in roles {
                options = options.with_role_selection(*class, false, true);
            }
            options.establish((peer.host.as_str(), peer.port))
        };
        line.check()?;
        let mut established = establish();
        for _ in 1..TRIES {
            match &established {
                Err(error) if for_the_moment(error) => line.pause(PAUSE)?,
                _ => break,
            }
            established = establish();
        }
        let mut inner = match established {
            Err(UpperLayer::NoAcceptedPresentationContexts { .. }) => return Ok(None),
            established => established.map_err(|error| not_opened(&error))?,
        };
        // Small commands must not wait for what follows; without it all is only slower.
        let _ = inner.inner_stream().set_nodelay(true);
        line.alive()?;
        let context = |context: &dicom_ul::pdu::PresentationContextNegotiated| Context {
            id: context.id,
            class: context.abstract_syntax.clone(),
            syntax: context.transfer_syntax.trim_end_matches(['\0', ' ']).to_owned(),
        };
        let contexts = inner.presentation_contexts().iter().map(context).collect();
        Ok(Some(Association { inner, line, values: VecDeque::new(), contexts, message_id: 0 }))
    }

    /// The contexts that the peer took.
    pub fn contexts(&self) -> &[Context] {
        &self.contexts
    }

    /// Whether the peer agreed to send instances of `class` to us.
    pub fn receives(&self, class: &str) -> bool {
        self.inner.requestor_roles_for(class).scp
    }

    pub fn next_message_id(&mut self) -> u16 {
        self.message_id += 1;
        self.message_id
    }

    pub fn send_command(&mut self, context: u8, elements: Vec<DataElement<InMemDicomObject>>) -> Result<()> {
        let set = InMemDicomObject::command_from_element_iter(elements);
        let mut bytes = Vec::new();
        set.write_dataset_with_ts(&mut bytes, &IMPLICIT_VR_LITTLE_ENDIAN.erased()).map_err(|error| broken(&error))?;
        self.send_value(context, PDataValueType::Command, true, bytes)
    }

    /// Sends `length` bytes of `data`.
    pub fn send_data(&mut self, context: u8, mut data: impl Read, length: u64) -> Result<()> {
        let chunk = self.inner.acceptor_max_pdu_length().clamp(2 * HEADERS, UNIT) - HEADERS;
        let mut sent = 0;
        loop {
            let mut bytes = vec![0; (length - sent).min(u64::from(chunk)) as usize];
            let read = data.read_exact(&mut bytes);
            self.line.alive()?;
            read.map_err(|error| {
                Trouble::peer(format!("the file cannot be read while it is sent: {error}"), "is it being changed?")
            })?;
            sent += bytes.len() as u64;
            self.send_value(context, PDataValueType::Data, sent == length, bytes)?;
            if sent == length {
                return Ok(());
            }
        }
    }

    fn send_value(&mut self, context: u8, value_type: PDataValueType, is_last: bool, data: Vec<u8>) -> Result<()> {
        self.line.alive()?;
        let value = PDataValue { presentation_context_id: context, value_type, is_last, data };
        self.inner.send(&Pdu::PData { data: vec![value] }).map_err(|error| broken(&error))
    }

    /// The next command.
    pub fn command(&mut self) -> Result<Command> {
        let mut bytes = Vec::new();
        loop {
            let value = self.value(&PDataValueType::Command)?;
            bytes.extend(value.data);
            if bytes.len() > LONGEST_COMMAND {
                return Err(Trouble::peer("the peer's command has no end", ODD));
            }
            if value.is_last {
                let set = InMemDicomObject::read_dataset_with_ts(&bytes[..], &IMPLICIT_VR_LITTLE_ENDIAN.erased());
                return Ok(Command { context: value.presentation_context_id, set: set.map_err(|e| broken(&e))? });
            }
        }
    }

    /// Passes the data set that follows to `out`; the outer result is the connection's.
    pub fn data(&mut self, out: &mut dyn Write) -> Result<io::Result<()>> {
        loop {
            let value = self.value(&PDataValueType::Data)?;
            if let Err(error) = out.write_all(&value.data) {
                return Ok(Err(error));
            }
            if value.is_last {
                return Ok(Ok(()));
            }
        }
    }

    /// The small data set that follows, in the transfer syntax of its context.
    pub fn identifier(&mut self, context: u8) -> Result<InMemDicomObject> {
        let mut bytes = Bounded(Vec::new());
        self.data(&mut bytes)?.map_err(|_| Trouble::peer("the peer's answer has no end", ODD))?;
        let known = self.contexts.iter().find(|known| known.id == context);
        let syntax = known.and_then(|known| TransferSyntaxRegistry.get(&known.syntax));
        let syntax =
            syntax.ok_or_else(|| Trouble::peer("the peer answers in a context that was not agreed on", ODD))?;
        InMemDicomObject::read_dataset_with_ts(&bytes.0[..], syntax).map_err(|error| broken(&error))
    }

    fn value(&mut self, expected: &PDataValueType) -> Result<PDataValue> {
        loop {
            self.line.alive()?;
            if let Some(value) = self.values.pop_front() {
                if value.value_type != *expected {
                    return Err(Trouble::peer("the peer mixes commands and data", ODD));
                }
                return Ok(value);
            }
            acknowledge_at_once(self.inner.inner_stream());
            match self.inner.receive().map_err(|error| broken(&error))? {
                Pdu::PData { data } => self.values.extend(data),
                Pdu::AbortRQ { source } => {
                    let reason = match source {
                        AbortRQSource::ServiceProvider(reason) => format!(": {reason}"),
                        AbortRQSource::ServiceUser | AbortRQSource::Reserved => String::new(),
                    };
                    return Err(Trouble::peer(format!("the peer aborted the association{reason}"), ABORTED));
                }
                _ => return Err(Trouble::peer("the peer ended the association too early", LOG)),
            }
        }
    }

    /// Ends it in agreement; what was done is done, whatever the peer says to this.
    pub fn release(self) {
        if let Err(error) = self.inner.release() {
            log::debug!("release: {}", causes(&error));
        }
    }

    /// Ends it at once.
    pub fn abort(self) {
        if let Err(error) = self.inner.abort() {
            log::debug!("abort: {}", causes(&error));
        }
    }
}

/// Peers that send a response and the next command in two writes wait for the acknowledgement between them, which this side
/// would hold back for 40 ms: some seconds for a series.
fn acknowledge_at_once(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::TcpStreamExt as _;
        // Holds until the next read; without it all is only slower.
        let _ = socket.set_quickack(true);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

pub const ODD: &str = "this is a fault of the peer, or of transunet; `-vv` shows more";
const ABORTED: &str = "it may not allow this to the title of this side (--calling); its log says more";
const LOG: &str = "the peer's log says more";

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > LONGEST_COMMAND {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the peer would have the association at another time (PS3.8 9.3.4).
fn for_the_moment(error: &UpperLayer) -> bool {
    matches!(error, UpperLayer::Rejected { association_rj, .. } if association_rj.result == AssociationRJResult::Transient)
}

fn not_opened(error: &UpperLayer) -> Trouble {
    match error {
        UpperLayer::Rejected { association_rj, .. } => {
            let hint = match association_rj.source {
                AssociationRJSource::ServiceUser(User::CallingAETitleNotRecognized) => {
                    "--calling TITLE names this side; the peer must know it, with this machine's address"
                }
                AssociationRJSource::ServiceUser(User::CalledAETitleNotRecognized) => {
                    "the title before the @ must be the peer's own"
                }
                _ => "the peer must know this side's title (--calling); its log says more",
            };
            Trouble::peer(format!("the association was rejected: {}", association_rj.source), hint)
        }
        UpperLayer::Connect { source, .. } | UpperLayer::ToAddress { source, .. } => Trouble::peer(
            format!("cannot connect: {source}"),
            "is the peer running, and is this the right host and port?",
        ),
        error => broken(error),
    }
}

fn broken(error: &dyn std::error::Error) -> Trouble {
    let text = causes(error);
    let timed_out = text.contains("os error 11)") || text.contains("timed out");
    match timed_out {
        true => {
            Trouble::peer("the peer does not answer", "--timeout SECONDS waits longer; does a DICOM peer listen there?")
        }
        false => Trouble::peer(format!("the connection failed: {text}"), "does a DICOM peer without TLS listen there?"),
    }
}

/// Elements of a command.
pub fn uid(tag: Tag, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::UI, PrimitiveValue::from(value))
}

pub fn number(tag: Tag, value: u16) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::US, PrimitiveValue::from(value))
}

pub fn text(tag: Tag, vr: VR, value: &str) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value))
}

pub fn with_data_set(follows: bool) -> DataElement<InMemDicomObject> {
    number(tags::COMMAND_DATA_SET_TYPE, if follows { 0 } else { NO_DATA_SET })
}

impl Command {
    pub fn number(&self, tag: Tag) -> Option<u16> {
        self.set.element(tag).ok()?.to_int().ok()
    }

    pub fn text(&self, tag: Tag) -> String {
        let text = self.set.element(tag).ok().and_then(|element| element.to_str().ok());
        text.map_or(String::new(), |text| text.trim_matches(['\0', ' ']).to_owned())
    }

    pub fn field(&self) -> u16 {
        self.number(tags::COMMAND_FIELD).unwrap_or_default()
    }

    pub fn has_data_set(&self) -> bool {
        self.number(tags::COMMAND_DATA_SET_TYPE) != Some(NO_DATA_SET)
    }

    /// An absent status is no success.
    pub fn status(&self) -> u16 {
        self.number(tags::STATUS).unwrap_or(0x0110)
    }

    /// The status in words, with the peer's own.
    pub fn verdict(&self) -> String {
        let words = super::status::words(self.status());
        match super::trouble::tame(&self.text(tags::ERROR_COMMENT)) {
            comment if comment.is_empty() => words,
            comment => format!("{words}: {comment}"),
        }
    }
}
