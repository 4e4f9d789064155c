//! A message in the words of whoever receives it: an address, headers and a body with fields in it.

use async_trait::async_trait;

use super::{
    Notifier, Receipt,
    error::NotifyError,
    message::Message,
    poster::{Call, Method, Poster},
    terms::{TemplateMethod, TemplateTerms},
};
use crate::fault::Failure;

#[derive(Debug)]
pub struct Post {
    terms: TemplateTerms,
    poster: Poster,
}

impl Post {
    pub fn new(terms: TemplateTerms) -> Result<Self, Failure> {
        let mut secrets = terms.url.secrets();
        secrets.extend(terms.headers.values().cloned());
        Ok(Self {
            poster: Poster::new(terms.allow_private, secrets)?,
            terms,
        })
    }
}

#[async_trait]
impl Notifier for Post {
    async fn deliver(&self, message: &Message) -> Result<Receipt, NotifyError> {
        let terms = &self.terms;
        let mut headers = vec![
            ("content-type".to_owned(), terms.content_type.clone()),
            // For receivers that know a message again.
            ("x-kanbu-backup-id".to_owned(), message.id.to_string()),
        ];
        let own = terms.headers.iter();
        headers.extend(own.map(|(name, value)| (name.clone(), value.expose().to_owned())));
        let call = Call {
            method: match terms.method {
                TemplateMethod::Post => Method::POST,
                TemplateMethod::Put => Method::PUT,
                TemplateMethod::Patch => Method::PATCH,
            },
            url: terms.url.url().clone(),
            headers,
            body: terms.body.render(message).into_bytes(),
        };
        Ok(Receipt::answered(self.poster.send(&call).await?))
    }
}
