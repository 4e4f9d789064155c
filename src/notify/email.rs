//! Messages by mail: plain text over SMTP, protected unless somebody said otherwise, with an id of its event's making, by
//! which a mail that comes twice is known.

use std::time::Duration;

use async_trait::async_trait;
use lettre::{
    AsyncSmtpTransport, AsyncTransport, Tokio1Executor,
    message::{
        Mailbox, SinglePart,
        header::{ContentType, HeaderName, HeaderValue},
    },
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
    },
};
use tokio::time::timeout;

use super::{
    Notifier, Receipt,
    error::NotifyError,
    hidden::Hidden,
    message::{Message, one_line},
    terms::{EmailTerms, MailTls},
};
use crate::fault::{Failure, Fault, chain};

/// For the whole conversation. The transport knows a limit for the connection alone.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Longer subjects are cut by readers anyway.
const MOST_SUBJECT_CHARS: usize = 200;

/// A mail server that takes our messages.
pub struct Email {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    host: String,
    from: Mailbox,
    to: Vec<Mailbox>,
    secret: Option<Hidden>,
}

impl std::fmt::Debug for Email {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Email")
            .field("host", &self.host)
            .field("to", &self.to.len())
            .finish_non_exhaustive()
    }
}

fn unusable(text: String) -> Failure {
    Failure::new(Fault::Permanent, "notify.mail_settings", text)
}

fn mailbox(text: &str) -> Result<Mailbox, Failure> {
    text.parse()
        .map_err(|_| unusable(format!("{text:?} is no mail address")))
}

impl Email {
    pub fn new(terms: &EmailTerms) -> Result<Self, Failure> {
        let to = terms.to.iter().map(|to| mailbox(to));
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(terms.host.clone())
                .port(terms.port)
                .tls(tls(terms)?)
                .timeout(Some(ANSWER_WITHIN));
        if let Some((user, password)) = &terms.login {
            let password = password.expose().to_owned();
            transport = transport.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Self {
            transport: transport.build(),
            host: terms.host.clone(),
            from: mailbox(&terms.from)?,
            to: to.collect::<Result<_, _>>()?,
            secret: terms.login.as_ref().map(|(_, password)| password.clone()),
        })
    }

    fn letter(&self, message: &Message) -> Result<lettre::Message, NotifyError> {
        let subject = format!("[{}] {}", message.environment, message.title());
        let subject: String = one_line(&subject)
            .chars()
            .take(MOST_SUBJECT_CHARS)
            .collect();
        let id = format!("<{}@{}>", message.id, self.from.email.domain());
        let mut letter = lettre::Message::builder()
            .from(self.from.clone())
            .subject(subject)
            .message_id(Some(id))
            .date_now();
        // So that nobody's absence is announced to us.
        if let Ok(name) = HeaderName::new_from_ascii("Auto-Submitted".to_owned()) {
            letter = letter.raw_header(HeaderValue::new(name, "auto-generated".to_owned()));
        }
        for to in &self.to {
            letter = letter.to(to.clone());
        }
        let body = SinglePart::builder()
            .header(ContentType::TEXT_PLAIN)
            .body(body(message));
        letter
            .singlepart(body)
            .map_err(|_| NotifyError::Unsuitable("the message can't be written as a mail"))
    }

    fn timed_out(&self) -> NotifyError {
        NotifyError::TimedOut {
            host: self.host.clone(),
            limit: ANSWER_WITHIN,
        }
    }

    fn refused(&self, error: &lettre::transport::smtp::Error) -> NotifyError {
        let host = self.host.clone();
        if error.is_timeout() {
            return self.timed_out();
        }
        let reason = chain(error);
        let reason = match &self.secret {
            Some(secret) => secret.out_of(&reason),
            None => reason,
        };
        if error.is_response() || error.is_permanent() || error.is_transient() || error.is_client()
        {
            return NotifyError::Mail {
                host,
                reason,
                is_permanent: error.is_permanent(),
            };
        }
        NotifyError::Unreachable { host, reason }
    }
}

fn tls(terms: &EmailTerms) -> Result<Tls, Failure> {
    if terms.tls == MailTls::Off {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(terms.host.clone());
    if let Some(path) = &terms.ca_file {
        let bad = |why: String| unusable(format!("{} {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| bad(format!("can't be read: {error}")))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|_| bad("is no certificate".to_owned()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    let parameters = parameters
        .build()
        .map_err(|error| unusable(format!("TLS can't be spoken: {}", chain(&error))))?;
    Ok(match terms.tls {
        MailTls::StartTls => Tls::Required(parameters),
        MailTls::Tls => Tls::Wrapper(parameters),
        MailTls::Off => Tls::None,
    })
}

/// What happened, then what is known, one line each.
fn body(message: &Message) -> String {
    let fields = message.fields();
    let known: String = fields
        .iter()
        .map(|(name, value)| [*name, ": ", &one_line(value), "\n"].concat())
        .collect();
    let (title, text, id) = (message.title(), message.text(), message.id);
    format!("{title}\n\n{text}\n\n{known}\n-- \nkanbu-backup, event {id}\n")
}

#[async_trait]
impl Notifier for Email {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let letter = self.letter(message)?;
        let sent = timeout(ANSWER_WITHIN, self.transport.send(letter)).await;
        let sent = sent.map_err(|_| self.timed_out())?;
        match sent {
            Ok(answer) => Ok(Receipt::Delivered {
                http_status: None,
                said: answer.first_line().unwrap_or_default().to_owned(),
            }),
            Err(error) => Err(self.refused(&error)),
        }
    }
}
