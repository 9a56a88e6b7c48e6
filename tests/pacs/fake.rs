//! Peers that do wrong, each for one test: a web server that says what it is told to, and a DIMSE peer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use dicom::core::{DataElement, PrimitiveValue, VR};
use dicom::dictionary_std::{tags, uids};
use dicom::object::InMemDicomObject;
use dicom::transfer_syntax::entries::IMPLICIT_VR_LITTLE_ENDIAN;
use dicom_ul::association::ServerAssociationOptions;
use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a server was asked, heads and bodies in turn.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// A server that gives every request to `answer`, which writes whatever it likes; returns its address.
pub fn web(answer: impl Fn(&str, &mut TcpStream) + Send + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Asked::default();
    let heard = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            let length = |line: &str| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok();
            let length: u64 = head.lines().find_map(length).unwrap_or(0);
            let mut body = Vec::new();
            reader.take(length).read_to_end(&mut body).unwrap();
            heard.lock().unwrap().push(head.clone());
            answer(&head, &mut stream);
        }
    });
    (address, asked)
}

/// A whole answer.
pub fn answer(status: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A server that always says the same.
pub fn says(status: &str, kind: &str, body: &[u8]) -> (String, Asked) {
    let answer = answer(status, kind, body);
    web(move |_, stream| drop(stream.write_all(&answer)))
}

/// Says the same to everyone who connects, asked or not; its address as that of a DIMSE peer.
pub fn blunt(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.write_all(answer);
            // An end with bytes unread would be a reset, which may overtake the answer.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    format!("dimse://X@127.0.0.1:{port}")
}

/// The same over TLS, with a key and its certificate (PEM).
pub fn encrypted(pem: &[u8], answer: Vec<u8>) -> String {
    let certificate = CertificateDer::from_pem_slice(pem).unwrap();
    let key = PrivateKeyDer::from_pem_slice(pem).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate], key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut reader = BufReader::new(StreamOwned::new(connection, stream.unwrap()));
            let mut line = String::new();
            // Who does not trust us says no more.
            while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
                line.clear();
            }
            if line == "\r\n" {
                let stream = reader.get_mut();
                stream.write_all(&answer).unwrap();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

/// A server that listens and says nothing.
pub fn silent() -> String {
    web(|_, _| thread::sleep(Duration::from_secs(60))).0
}

/// A DIMSE peer that takes `classes` and gives each command that it gets, one for each association, `status` and a comment.
pub fn dimse(classes: &'static [&'static str], status: u16, comment: &'static str) -> String {
    turning_away(0, classes, status, comment)
}

/// A DIMSE peer that has no room for the first `times` associations.
pub fn crowded(times: usize, classes: &'static [&'static str]) -> String {
    turning_away(times, classes, 0, "")
}

fn turning_away(times: usize, classes: &'static [&'static str], status: u16, comment: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            if n < times {
                let mut stream = stream.unwrap();
                // PS3.8 9.3.4: for the moment, by the presentation's provider, local limit exceeded.
                let _ = stream.read(&mut [0; 1 << 16]).and_then(|_| stream.write_all(&[3, 0, 0, 0, 0, 4, 0, 2, 3, 2]));
                continue;
            }
            let mut options = ServerAssociationOptions::new().accept_any().ae_title("FAKE");
            for class in classes {
                options = options.with_abstract_syntax(*class);
            }
            // Only what every application must know.
            options = options.with_transfer_syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN);
            let Ok(mut association) = options.establish(stream.unwrap()) else { continue };
            let (mut command, mut context) = (Vec::new(), 0);
            'heard: while let Ok(pdu) = association.receive() {
                match pdu {
                    Pdu::PData { data } => {
                        for value in data {
                            context = value.presentation_context_id;
                            if value.value_type == PDataValueType::Command {
                                command.extend(value.data);
                            } else if value.is_last {
                                break 'heard;
                            }
                        }
                    }
                    Pdu::ReleaseRQ => drop(association.send(&Pdu::ReleaseRP)),
                    _ => break,
                }
            }
            if command.is_empty() {
                continue;
            }
            let syntax = IMPLICIT_VR_LITTLE_ENDIAN.erased();
            let command = InMemDicomObject::read_dataset_with_ts(&command[..], &syntax).unwrap();
            let field: u16 = command.element(tags::COMMAND_FIELD).unwrap().to_int().unwrap();
            let number = |tag, value: u16| DataElement::new(tag, VR::US, PrimitiveValue::from(value));
            let text = |tag, vr, value: &str| DataElement::new(tag, vr, PrimitiveValue::from(value));
            let class = command.element(tags::AFFECTED_SOP_CLASS_UID).unwrap().to_str().unwrap();
            let answer = InMemDicomObject::command_from_element_iter([
                text(tags::AFFECTED_SOP_CLASS_UID, VR::UI, &class),
                number(tags::COMMAND_FIELD, field | 0x8000),
                number(tags::MESSAGE_ID_BEING_RESPONDED_TO, 1),
                number(tags::COMMAND_DATA_SET_TYPE, 0x0101),
                number(tags::STATUS, status),
                text(tags::ERROR_COMMENT, VR::LO, comment),
            ]);
            let mut data = Vec::new();
            answer.write_dataset_with_ts(&mut data, &syntax).unwrap();
            let value_type = PDataValueType::Command;
            let value = PDataValue { presentation_context_id: context, value_type, is_last: true, data };
            let _ = association.send(&Pdu::PData { data: vec![value] });
            if let Ok(Pdu::ReleaseRQ) = association.receive() {
                let _ = association.send(&Pdu::ReleaseRP);
            }
        }
    });
    format!("dimse://FAKE@127.0.0.1:{port}")
}
