//! STOW-RS (PS3.18 10.5): sends an instance to a DICOMweb server and says what became of it.

use std::io::{Cursor, Read as _};

use serde_json::Value;
use ureq::SendBody;
use ureq::http::StatusCode;

use super::address::Web;
use super::line::{Line, Watched};
use super::object::Object;
use super::status;
use super::trouble::{Result, Trouble, tame};
use super::web::{Access, Server, refused, whole};

/// Sends `object`; gives the server's warning, if it has one.
pub fn send(web: &Web, object: &Object, access: &Access, line: &Line) -> Result<Option<String>> {
    let server = Server::new(web, access)?;
    let (file, size) = object.open()?;
    let boundary = format!("transunet-{}", object.instance_uid.replace('.', "-"));
    let head = format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n").into_bytes();
    let tail = format!("\r\n--{boundary}--\r\n").into_bytes();
    let length = (head.len() + tail.len()) as u64 + size;
    let body = Cursor::new(head).chain(file.take(size)).chain(Cursor::new(tail));
    let mut body = Watched::new(body, length, line);
    let kind = format!("multipart/related; type=\"application/dicom\"; boundary=\"{boundary}\"");
    let sent = server.post("/studies", &kind, length, SendBody::from_reader(&mut body));
    line.check()?;
    let mut response = sent?;
    line.alive()?;
    // 202 and 409 come with the reason for each instance.
    if !matches!(response.status(), StatusCode::OK | StatusCode::ACCEPTED | StatusCode::CONFLICT) {
        return Err(refused(response));
    }
    let status = response.status();
    let text = whole(&mut response).map_err(|error| {
        Trouble::peer(format!("the answer broke off: {error}"), "look on the server whether it was stored")
    })?;
    verdict(status, &String::from_utf8_lossy(&text), &object.instance_uid)
}

/// What the answer (PS3.18 10.5.3, annex I) says of the instance.
fn verdict(status: StatusCode, text: &str, uid: &str) -> Result<Option<String>> {
    let Ok(answer) = serde_json::from_str::<Value>(text) else {
        return match status {
            // A server that answers in XML or not at all.
            StatusCode::OK => Ok(None),
            _ => Err(Trouble::peer(format!("HTTP status {status}: {}", tame(text)), "the server's log says more")),
        };
    };
    let value = |item: &Value, tag: &str| item[tag]["Value"][0].clone();
    let items = |tag: &str| answer[tag]["Value"].as_array().cloned().unwrap_or_default();
    // (0008,1155) ReferencedSOPInstanceUID
    let ours = |item: &&Value| value(item, "00081155").as_str() == Some(uid);
    // (0008,1198) FailedSOPSequence, (0008,1197) FailureReason
    let failed = items("00081198");
    if let Some(item) = failed.iter().find(ours).or(failed.first()) {
        let reason = match value(item, "00081197").as_u64().and_then(|code| u16::try_from(code).ok()) {
            Some(code) => status::words(code),
            None => "no reason given".into(),
        };
        return Err(Trouble::peer(format!("refused: {reason}"), "the server's log says more"));
    }
    // (0008,1199) ReferencedSOPSequence, (0008,1196) WarningReason
    match items("00081199").iter().find(ours) {
        Some(item) => Ok(value(item, "00081196").as_u64().and_then(|code| u16::try_from(code).ok()).map(status::words)),
        None if status == StatusCode::OK => Ok(Some("the server does not list it among what it stored".into())),
        None => Err(Trouble::peer(format!("HTTP status {status}: {}", tame(text)), "the server's log says more")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let said = |status, text: &str| match verdict(status, text, "1.2") {
            Ok(warning) => format!("stored {}", warning.unwrap_or_default()),
            Err(Trouble::Peer { message, .. }) => message,
            Err(_) => unreachable!(),
        };
        let stored = r#"{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]}}]}}"#;
        assert_eq!(said(StatusCode::OK, stored), "stored ");
        let warned = r#"{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]},"00081196":{"vr":"US","Value":[45056]}}]}}"#;
        assert!(
            said(StatusCode::ACCEPTED, warned).starts_with("stored ") && said(StatusCode::OK, warned).contains("B000")
        );
        let failed = r#"{"00081198":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["1.2"]},"00081197":{"vr":"US","Value":[42752]}}]}}"#;
        assert!(
            said(StatusCode::CONFLICT, failed).contains("out of resources")
                && said(StatusCode::OK, failed).contains("A700")
        );
        assert!(said(StatusCode::OK, "{}").contains("does not list it"));
        assert_eq!(said(StatusCode::OK, "<xml/>"), "stored ");
        assert!(said(StatusCode::CONFLICT, "no").contains("409"));
    }
}
