//! What proves to Google who we are: an OAuth client's refresh token, or a service account's key.
//!
//! Neither is ever printed. A service account signs a statement that is good for an hour, so its key never travels.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::Deserialize;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{DriveError, config::keeps_secrets};

/// A service account sees a folder that was shared with it only under the whole scope; what it may touch is what was
/// shared. An OAuth client's scope was chosen when its owner consented.
const SERVICE_SCOPE: &str = "https://www.googleapis.com/auth/drive";
const STATEMENT_SECONDS: i64 = 3600;

/// Who we are to Google.
#[derive(Clone)]
pub struct Credentials(Arc<Kind>);

enum Kind {
    Consent {
        client_id: String,
        client_secret: Zeroizing<String>,
        refresh_token: Zeroizing<String>,
    },
    Service(Box<ServiceAccount>),
}

struct ServiceAccount {
    email: String,
    key_id: String,
    key: RsaKeyPair,
    token_url: Url,
}

impl Credentials {
    /// An OAuth client that the Drive's owner once gave consent to.
    pub fn refresh_token(
        client_id: impl Into<String>,
        client_secret: impl Into<String>,
        refresh_token: impl Into<String>,
    ) -> Self {
        Self(Arc::new(Kind::Consent {
            client_id: client_id.into(),
            client_secret: Zeroizing::new(client_secret.into()),
            refresh_token: Zeroizing::new(refresh_token.into()),
        }))
    }

    /// A service account, from the JSON that Google made for it.
    pub fn service_account(json: &str) -> Result<Self, DriveError> {
        let account = ServiceAccount::from_json(json).map_err(DriveError::BadConfig)?;
        Ok(Self(Arc::new(Kind::Service(Box::new(account)))))
    }

    /// Where tokens are to be had, if the credentials say so.
    pub(super) fn token_url(&self) -> Option<&Url> {
        match &*self.0 {
            Kind::Consent { .. } => None,
            Kind::Service(account) => Some(&account.token_url),
        }
    }

    /// The form that is exchanged for an access token.
    pub(super) fn grant(&self, now: DateTime<Utc>) -> Result<Zeroizing<String>, DriveError> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        match &*self.0 {
            Kind::Consent {
                client_id,
                client_secret,
                refresh_token,
            } => form
                .append_pair("grant_type", "refresh_token")
                .append_pair("client_id", client_id)
                .append_pair("client_secret", client_secret)
                .append_pair("refresh_token", refresh_token),
            Kind::Service(account) => form
                .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
                .append_pair("assertion", &account.statement(now)?),
        };
        Ok(Zeroizing::new(form.finish()))
    }
}

impl ServiceAccount {
    fn from_json(json: &str) -> Result<Self, &'static str> {
        #[derive(Deserialize)]
        struct Json {
            client_email: String,
            private_key_id: String,
            private_key: String,
            token_uri: String,
        }
        // The parser's own words could repeat a piece of the key.
        let json: Json = serde_json::from_str(json).map_err(
            |_| "the service account needs client_email, private_key_id, private_key and token_uri, as in the JSON that google makes",
        )?;
        let pem = Zeroizing::new(json.private_key);
        let token_url = json.token_uri.parse().ok().filter(keeps_secrets);
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes())
            .ok()
            .and_then(|der| RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).ok());
        Ok(Self {
            email: json.client_email,
            key_id: json.private_key_id,
            key: key.ok_or("the service account's private_key is no RSA key in PKCS #8 form")?,
            token_url: token_url.ok_or("the service account's token_uri is not https")?,
        })
    }

    /// A JSON web token (RS256): it asks for an access token.
    fn statement(&self, now: DateTime<Utc>) -> Result<Zeroizing<String>, DriveError> {
        let header = serde_json::json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = serde_json::json!({
            "iss": self.email,
            "scope": SERVICE_SCOPE,
            "aud": self.token_url.as_str(),
            "iat": now.timestamp(),
            "exp": now.timestamp() + STATEMENT_SECONDS,
        });
        let [header, claims] = [header, claims].map(|j| URL_SAFE_NO_PAD.encode(j.to_string()));
        let text = format!("{header}.{claims}");
        let mut signature = vec![0; self.key.public().modulus_len()];
        let (random, bytes) = (SystemRandom::new(), text.as_bytes());
        self.key
            .sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature)
            .map_err(|_| DriveError::BadConfig("the service account's key can't sign"))?;
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Ok(Zeroizing::new(format!("{text}.{signature}")))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Consent { .. } => f.write_str("Credentials(refresh token ***)"),
            Kind::Service(_) => f.write_str("Credentials(service account ***)"),
        }
    }
}
