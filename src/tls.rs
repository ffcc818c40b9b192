//! TLS as JavaScript sees it: the certificates of an endpoint, the handshakes of a peer, and what a
//! client's handshake came to.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use millrace_tls::{
    CertificateOptions, CertificateSource, CertifiedCert, ClientAuthMode, ClientAuthOptions,
    ClientTls, ClientTlsOptions, Finding, MinVersion, ServerTls, ServerTlsOptions, TlsError,
};
use millrace_transport::TlsInfo;
use napi::Status;
use napi::bindgen_prelude::{Buffer, Error, FnArgs, Function, Result};
use napi::threadsafe_function::{
    ThreadsafeFunction, ThreadsafeFunctionCallMode, UnknownReturnValue,
};
use napi_derive::napi;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::options::length;

/// A certificate with its key, in PEM, and the names it is shown for; empty for its own.
#[napi(object, object_to_js = false)]
pub struct NativeCertificate {
    pub names: Vec<String>,
    pub cert: Buffer,
    pub key: Buffer,
}

/// How handshakes with clients are done. Checked and completed in ts/, but for what PEM says.
#[napi(object, object_to_js = false)]
pub struct NativeTlsOptions {
    pub certificates: Vec<NativeCertificate>,
    pub alpn: Vec<String>,
    pub only_tls13: bool,
    pub client_ca: Option<Buffer>,
    pub client_required: bool,
    pub session_tickets: bool,
    pub handshake_timeout_ms: u32,
    pub sni_cache_ttl_ms: u32,
}

/// The certificates of an endpoint. What is wrong with one is thrown as `field\nwhat is wrong`.
#[napi]
pub struct NativeTls {
    pub(crate) tls: ServerTls,
    questions: Option<Arc<Questions>>,
}

#[napi]
impl NativeTls {
    /// `ask` gets the number of a question and a name; `answer` brings the answer.
    #[napi(constructor, catch_unwind)]
    pub fn new(
        options: NativeTlsOptions,
        #[napi(ts_arg_type = "((question: number, name: string) => void) | undefined")] ask: Option<
            Function<FnArgs<(u32, String)>, UnknownReturnValue>,
        >,
    ) -> Result<Self> {
        let questions = ask.map(Questions::new).transpose()?.map(Arc::new);
        let source = questions.clone().map(|questions| questions as Arc<dyn CertificateSource>);
        let mode = match options.client_required {
            true => ClientAuthMode::Require,
            false => ClientAuthMode::Request,
        };
        let tls = ServerTls::new(ServerTlsOptions {
            certificates: listed(options.certificates),
            source,
            source_ttl: length(options.sni_cache_ttl_ms),
            alpn: Some(options.alpn.into_iter().map(String::into_bytes).collect()),
            min_version: if options.only_tls13 { MinVersion::Tls13 } else { MinVersion::Tls12 },
            client_auth: options
                .client_ca
                .map(|ca| ClientAuthOptions { ca_pem: ca.to_vec(), mode }),
            session_tickets: options.session_tickets,
            handshake_timeout: length(options.handshake_timeout_ms),
            ..ServerTlsOptions::default()
        });
        Ok(NativeTls { tls: tls.map_err(thrown)?, questions })
    }

    /// Replaces all listed certificates, or none if one of them cannot be used.
    #[napi(catch_unwind)]
    pub fn update_certificates(&self, certificates: Vec<NativeCertificate>) -> Result<()> {
        self.tls.update_certificates(&listed(certificates)).map_err(thrown)
    }

    /// The answer to a question: a certificate, which is checked whoever still waits for it, or
    /// none.
    #[napi(catch_unwind)]
    pub fn answer(&self, question: u32, certificate: Option<NativeCertificate>) -> Result<()> {
        let Some(questions) = &self.questions else { return Ok(()) };
        let waiting = questions.waiting.lock().remove(&question);
        let read = |found: NativeCertificate| CertifiedCert::from_pem(&found.cert, &found.key);
        let certificate = certificate.map(read).transpose().map_err(thrown)?;
        if let Some(waiting) = waiting {
            let _ = waiting.send(certificate);
        }
        Ok(())
    }
}

type Ask = ThreadsafeFunction<
    FnArgs<(u32, String)>,
    UnknownReturnValue,
    FnArgs<(u32, String)>,
    Status,
    false,
    true,
>;

/// Names that JavaScript is asked to find certificates for.
struct Questions {
    ask: Ask,
    next: AtomicU32,
    waiting: Arc<Waiting>,
}

type Waiting = Mutex<HashMap<u32, oneshot::Sender<Option<CertifiedCert>>>>;

impl Questions {
    fn new(ask: Function<FnArgs<(u32, String)>, UnknownReturnValue>) -> Result<Self> {
        // Weak: an endpoint does not keep the process alive.
        let ask = ask.build_threadsafe_function().weak::<true>().build()?;
        Ok(Questions { ask, next: AtomicU32::new(0), waiting: Arc::default() })
    }
}

impl CertificateSource for Questions {
    fn find(&self, name: String) -> Finding {
        let number = self.next.fetch_add(1, Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(number, sender);
        let question = Question { number, waiting: self.waiting.clone() };
        let mode = ThreadsafeFunctionCallMode::NonBlocking;
        let asked = self.ask.call(FnArgs::from((number, name)), mode) == Status::Ok;
        Box::pin(async move {
            let _question = question;
            if asked { answer.await.ok().flatten() } else { None }
        })
    }
}

/// A question somebody waits for; over when he goes away.
struct Question {
    number: u32,
    waiting: Arc<Waiting>,
}

impl Drop for Question {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.number);
    }
}

/// How handshakes with an origin are done, in PEM.
#[napi(object, object_to_js = false)]
pub struct NativePeerTlsOptions {
    pub sni: Option<String>,
    pub ca: Option<Buffer>,
    pub cert: Option<Buffer>,
    pub key: Option<Buffer>,
    pub verify_cert: bool,
    pub verify_hostname: bool,
    pub alternative_name: Option<String>,
    /// What is offered in the place of HTTP.
    pub alpn: Option<Vec<String>>,
}

/// The TLS of a peer. What is wrong with it is thrown as `field\nwhat is wrong`.
#[napi]
pub struct NativePeerTls {
    pub(crate) tls: ClientTls,
}

#[napi]
impl NativePeerTls {
    #[napi(constructor, catch_unwind)]
    pub fn new(options: NativePeerTlsOptions) -> Result<Self> {
        let pem = |text: Option<Buffer>| text.map(|text| text.to_vec());
        let tls = ClientTls::new(ClientTlsOptions {
            sni: options.sni,
            ca_pem: pem(options.ca),
            cert_pem: pem(options.cert),
            key_pem: pem(options.key),
            verify_cert: options.verify_cert,
            verify_hostname: options.verify_hostname,
            alternative_name: options.alternative_name,
            alpn: options.alpn.map(|names| names.into_iter().map(String::into_bytes).collect()),
        });
        Ok(NativePeerTls { tls: tls.map_err(thrown)? })
    }
}

/// A certificate that has signed itself, and its key, in PEM.
#[napi(object, object_from_js = false)]
pub struct NativeSelfSigned {
    pub cert: String,
    pub key: String,
}

/// Makes one for these names. What is wrong with them is thrown as `field\nwhat is wrong`.
#[napi(catch_unwind)]
pub fn self_signed(names: Vec<String>) -> Result<NativeSelfSigned> {
    let (cert, key) = millrace_tls::self_signed(&names).map_err(thrown)?;
    Ok(NativeSelfSigned { cert, key })
}

/// What the handshake of a client came to.
#[napi(object, object_from_js = false)]
pub struct NativeTlsInfo {
    pub version: String,
    pub cipher: String,
    pub alpn: Option<String>,
    pub server_name: Option<String>,
    /// The client's certificates in DER, its own first.
    pub certificates: Vec<Buffer>,
}

impl From<&TlsInfo> for NativeTlsInfo {
    fn from(info: &TlsInfo) -> Self {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        NativeTlsInfo {
            version: info.version.to_owned(),
            cipher: info.cipher.to_owned(),
            alpn: info.alpn.as_ref().map(text),
            server_name: info.server_name.clone(),
            certificates: info.certificates.iter().map(|der| der.clone().into()).collect(),
        }
    }
}

fn listed(certificates: Vec<NativeCertificate>) -> Vec<CertificateOptions> {
    let one = |NativeCertificate { names, cert, key }| CertificateOptions {
        names,
        cert_pem: cert.to_vec(),
        key_pem: key.to_vec(),
    };
    certificates.into_iter().map(one).collect()
}

fn thrown(error: TlsError) -> Error {
    Error::new(Status::InvalidArg, format!("{}\n{}", error.field, error.message))
}
