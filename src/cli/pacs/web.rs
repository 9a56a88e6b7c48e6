//! A DICOMweb server (PS3.18): its certificates, the secret it is shown, and what its refusals mean.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderValue, Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, ResponseExt as _, SendBody};

use super::address::Web;
use super::multipart::parameter;
use super::trouble::{Result, Trouble, causes, tame};

/// The variable with the value of the header `Authorization`.
pub const AUTHORIZATION: &str = "TRANSUNET_DICOMWEB_AUTHORIZATION";
/// What is read of an answer that is no image.
const LONGEST_TEXT: u64 = 1 << 20;

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Access {
    pub patience: Duration,
    /// Certificates of authorities that are trusted beside the system's, PEM.
    pub authorities: Option<Vec<u8>>,
    /// Value of the header `Authorization`.
    pub secret: Option<HeaderValue>,
}

pub struct Server<'a> {
    agent: Agent,
    web: &'a Web,
    secret: Option<&'a HeaderValue>,
}

impl<'a> Server<'a> {
    pub fn new(web: &'a Web, access: &'a Access) -> Result<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .https_only(web.is_encrypted())
            .redirect_auth_headers(RedirectAuthHeaders::Never)
            .tls_config(encryption(access.authorities.as_deref(), web.is_encrypted())?)
            .user_agent(concat!("transunet/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(access.patience))
            .timeout_per_read(Some(access.patience))
            .timeout_per_write(Some(access.patience));
        if access.secret.is_some() && !web.is_encrypted() && !web.is_loopback() {
            log::warn!("{}: {AUTHORIZATION} is sent without encryption", web.base);
        }
        Ok(Server { agent: config.build().new_agent(), web, secret: access.secret.as_ref() })
    }

    /// The answer to a request for what is at `path`, below the base.
    pub fn get(&self, path: &str, accept: &str) -> Result<Response<Body>> {
        let asked = format!("{}{path}", self.web.base);
        let mut request = self.agent.get(&asked).header(header::ACCEPT, accept);
        if let Some(secret) = self.secret {
            request = request.header(header::AUTHORIZATION, secret);
        }
        let response = request.call().map_err(|error| unreachable_because(&error))?;
        let place = response.get_uri().to_string();
        let closed = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if closed && self.secret.is_some() && place != asked {
            let message = format!("the server leads to {}, which is not shown the secret", tame(&place));
            return Err(Trouble::peer(message, "use that address, if it is to be trusted"));
        }
        Ok(response)
    }

    /// The answer to `body`, of `length` bytes.
    pub fn post(&self, path: &str, kind: &str, length: u64, body: SendBody) -> Result<Response<Body>> {
        let mut request = self
            .agent
            .post(format!("{}{path}", self.web.base))
            .header(header::CONTENT_TYPE, kind)
            .header(header::CONTENT_LENGTH, length.to_string())
            .header(header::ACCEPT, "application/dicom+json");
        if let Some(secret) = self.secret {
            request = request.header(header::AUTHORIZATION, secret);
        }
        // What was sent to one place is not for another.
        let request = request.config().max_redirects(0).max_redirects_will_error(false).build();
        request.send(body).map_err(|error| unreachable_because(&error))
    }
}

/// The system's authorities, and those of `more`; without any only `needed` encryption is refused.
fn encryption(more: Option<&[u8]>, needed: bool) -> Result<TlsConfig> {
    let system = rustls_native_certs::load_native_certs();
    let mut trusted: Vec<_> = system.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    for item in more.iter().flat_map(|pem| parse_pem(pem)) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            trusted.push(certificate);
        }
    }
    if trusted.is_empty() && needed {
        return Err(Trouble::peer(
            "no certificates of authorities are installed here, so that no server can be trusted",
            "install the system's (Debian: ca-certificates), or name a file with --ca-file",
        ));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(trusted)))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

/// Certificates in PEM form; refuses a file without any.
pub fn authorities(path: &Path) -> std::result::Result<Vec<u8>, String> {
    let refuse = |reason: String| format!("{}: {reason}", path.display());
    let pem = fs::read(path).map_err(|error| refuse(format!("cannot read: {error}")))?;
    let found = parse_pem(&pem).any(|item| matches!(item, Ok(PemItem::Certificate(_))));
    found.then_some(pem).ok_or_else(|| refuse("holds no certificate in PEM form".into()))
}

fn unreachable_because(error: &ureq::Error) -> Trouble {
    let text = match error {
        ureq::Error::Io(error) => causes(error),
        error => causes(error),
    };
    let hint = match error {
        ureq::Error::HostNotFound => "check the host's name",
        _ if text.contains("lookup") => "check the host's name",
        ureq::Error::Timeout(_) => "--timeout SECONDS waits longer; is this the right host and port?",
        ureq::Error::RequireHttpsOnly(_) => "the server leads from https to http, which is not followed",
        _ if text.contains("UnknownIssuer") => "--ca-file FILE names the certificate of the hospital's own authority",
        _ if text.contains("certificate") => "the server's certificate is not good for this host and day",
        ureq::Error::ConnectionFailed | ureq::Error::Io(_) => {
            "is the server running, and is this the right host and port?"
        }
        _ => "check the address; `-vv` shows what was said",
    };
    let message = if text.contains("UnknownIssuer") {
        format!("the server's certificate is from an authority that is not trusted here ({text})")
    } else {
        text
    };
    Trouble::peer(message, hint)
}

/// The refusal in the server's own words.
pub fn refused(mut response: Response<Body>) -> Trouble {
    let status = response.status();
    let place = response.headers().get(header::LOCATION).and_then(|place| place.to_str().ok()).map(tame);
    let text = text(&mut response);
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "the variable TRANSUNET_DICOMWEB_AUTHORIZATION holds what the server wants to see, such as \"Bearer TOKEN\""
        }
        StatusCode::NOT_FOUND | StatusCode::GONE => "is it there, and is the part before /studies right?",
        StatusCode::NOT_ACCEPTABLE => "the server does not hand out images as they are stored",
        StatusCode::PAYLOAD_TOO_LARGE => "the server takes only smaller files",
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "the server is busy; try again later",
        status if status.is_redirection() => "use the address that the server names",
        status if status.is_server_error() => "the server's log says more",
        _ => "check the address",
    };
    let mut message = format!("HTTP status {status}");
    for more in place.into_iter().chain(Some(text)).filter(|more| !more.is_empty()) {
        message = format!("{message}: {more}");
    }
    Trouble::peer(message, hint)
}

/// What an answer says, for people; empty if it says nothing.
fn text(response: &mut Response<Body>) -> String {
    let (kind, _) = kind(response);
    let readable = kind.starts_with("text/") || kind.contains("json") || kind.contains("xml");
    let markup = kind.contains("html") || kind.contains("xml");
    let bytes = whole(response).unwrap_or_default();
    if !readable && !kind.is_empty() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(&text) {
        let said = ["message", "details", "error", "errormessage"];
        let said: Vec<_> = fields
            .iter()
            .filter(|(key, _)| said.contains(&key.to_lowercase().as_str()))
            .filter_map(|(_, value)| value.as_str())
            .collect();
        if !said.is_empty() {
            return tame(&said.join("; "));
        }
    }
    if markup { tame(&without_tags(&text)) } else { tame(&text) }
}

fn without_tags(text: &str) -> String {
    text.split('<').map(|part| part.split_once('>').map_or(part, |(_, rest)| rest)).collect::<Vec<_>>().join(" ")
}

/// An answer that is no image.
pub fn whole(response: &mut Response<Body>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    response.body_mut().as_reader().take(LONGEST_TEXT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Type of an answer in small letters, and its boundary.
pub fn kind(response: &Response<Body>) -> (String, Option<String>) {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    (kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase(), parameter(kind, "boundary"))
}
