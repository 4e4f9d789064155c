//! Tokens and the credentials they are had for: renewed in time, refused for good, and never seen.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use kanbu_backup::{
    fault::{Classified, Failure, Fault},
    storage::{
        ObjectKey,
        gdrive::{Credentials, DriveConfig, GoogleDrive},
    },
};
use object_store::{Error, ObjectStoreExt};
use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};

use super::{
    FOREVER, OBJECT, at, content, create,
    fake::{CLIENT_SECRET, FakeDrive, REFRESH_TOKEN, Trouble, Verb},
    read, reason, storage,
};

const KEY: &str = include_str!("../../vectors/gdrive/service-account.pem");
const EMAIL: &str = "backup@project.iam.example";

/// Whether a statement was signed by the owner of a key, and says what it must.
pub(crate) fn is_signed(statement: &str, key: &[u8]) -> bool {
    let Some((text, signature)) = statement.rsplit_once('.') else {
        return false;
    };
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key);
    let (header, claims) = text.split_once('.').unwrap();
    let [header, claims] = [header, claims].map(|part| {
        serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    });
    let hour = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap() == 3600;
    let scope = claims["scope"] == "https://www.googleapis.com/auth/drive";
    let audience = claims["aud"].as_str().unwrap().ends_with("/token");
    key.verify(text.as_bytes(), &signature).is_ok()
        && header == json!({ "alg": "RS256", "typ": "JWT", "kid": "key-1" })
        && claims["iss"] == EMAIL
        && hour
        && scope
        && audience
}

fn account(fake: &FakeDrive) -> String {
    json!({
        "type": "service_account",
        "client_email": EMAIL,
        "private_key_id": "key-1",
        "private_key": KEY,
        "token_uri": fake.url("token").as_str(),
    })
    .to_string()
}

fn public_key() -> Vec<u8> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
    key.public_key().as_ref().to_vec()
}

#[tokio::test]
async fn a_service_account_signs_for_its_token() {
    let fake = FakeDrive::start().await;
    fake.state().service_key = Some(public_key());
    let credentials = Credentials::service_account(&account(&fake)).unwrap();
    let drive = GoogleDrive::new(fake.config(credentials)).unwrap();
    create(&drive, OBJECT, b"x").await.unwrap();
    assert_eq!(fake.content(OBJECT), b"x");
    assert_eq!(fake.count(Verb::Token), 1, "one token is enough");
}

#[tokio::test]
async fn a_service_account_that_google_doesnt_know_is_refused_for_good() {
    let fake = FakeDrive::start().await;
    let credentials = Credentials::service_account(&account(&fake)).unwrap();
    let drive = GoogleDrive::new(fake.config(credentials)).unwrap();
    let error = create(&drive, OBJECT, b"x").await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error:?}");
    assert_eq!(reason(&error), (400, "invalid_grant"));
    assert_eq!(fake.count(Verb::Token), 1);
}

#[tokio::test]
async fn a_token_that_expired_is_renewed_once_in_mid_upload() {
    let fake = FakeDrive::start().await;
    let drive = fake.store();
    let sent = content(3 << 20);
    let mut upload = drive.put_multipart(&at(OBJECT)).await.unwrap();
    for part in sent.chunks(1 << 20) {
        fake.expire_tokens();
        upload.put_part(part.to_vec().into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    assert!(fake.content(OBJECT) == sent);
    assert_eq!(fake.count(Verb::Token), 4);
    assert_eq!(fake.state().refused, 3);
    fake.assert_clean(1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_runs_out() {
    let fake = FakeDrive::start().await;
    fake.state().expires_in = 0;
    create(&fake.store(), OBJECT, b"x").await.unwrap();
    assert!(fake.count(Verb::Token) > 3);
    assert_eq!(fake.state().refused, 0);
}

#[tokio::test]
async fn a_token_service_that_stumbles_is_asked_again() {
    let fake = FakeDrive::start().await;
    fake.troubles(Verb::Token, 0, 1, Trouble::Status(503, "backendError"));
    fake.troubles(Verb::Token, 0, 1, Trouble::AnswerLost);
    create(&fake.store(), OBJECT, b"x").await.unwrap();
    fake.assert_clean(1);
}

#[tokio::test]
async fn consent_that_is_taken_back_in_mid_upload_says_denied() {
    let fake = FakeDrive::start().await;
    let (_place, storage) = storage(fake.store());
    let key = ObjectKey::Probe {
        nonce: kanbu_backup::id::ExecutionId::new(),
    };
    let mut upload = storage.upload(&key).await.unwrap();
    upload.put_part(vec![1; 1 << 20].into()).await.unwrap();
    fake.revoke();
    let error = upload.put_part(vec![2; 1 << 20].into()).await.unwrap_err();
    assert_eq!(
        (error.code(), error.fault()),
        ("storage.denied", Fault::Permanent)
    );
    assert_eq!(
        fake.count(Verb::Token),
        2,
        "a refusal for good was asked again"
    );
    let failure = Failure::from(error);
    assert!(
        failure.message.contains("invalid_grant"),
        "{}",
        failure.message
    );
    assert_eq!(fake.state().shelf.objects(), 0);
}

#[tokio::test]
async fn no_secret_is_ever_seen() {
    let fake = FakeDrive::start().await;
    let service = Credentials::service_account(&account(&fake)).unwrap();
    let config = fake.config(FakeDrive::credentials());
    let drive = GoogleDrive::new(config.clone()).unwrap();
    let mut upload = drive.put_multipart(&at(OBJECT)).await.unwrap();
    let mut seen = vec![
        format!("{config:?} {service:?} {:?}", FakeDrive::credentials()),
        format!("{drive:?} {drive} {upload:?}"),
    ];
    for trouble in [
        Trouble::Status(400, "badRequest"),
        Trouble::Status(403, CLIENT_SECRET),
        Trouble::Status(503, "backendError"),
        Trouble::CutInside,
        Trouble::AnswerLost,
    ] {
        for verb in [
            Verb::Token,
            Verb::Piece,
            Verb::Finish,
            Verb::Open,
            Verb::Search,
        ] {
            fake.troubles(verb, 0, FOREVER, trouble);
        }
        fake.expire_tokens();
        for error in [
            upload.put_part(vec![0; 1 << 20].into()).await.unwrap_err(),
            create(&fake.store(), "prod/other", b"x").await.unwrap_err(),
            read(&fake.store(), OBJECT).await.unwrap_err(),
        ] {
            let chain = kanbu_backup::fault::chain(&error);
            seen.push(format!("{error:?} {error} {chain}"));
        }
        fake.mend();
        upload = drive.put_multipart(&at(OBJECT)).await.unwrap();
    }
    fake.revoke();
    let error = read(&drive, OBJECT).await.unwrap_err();
    seen.push(format!("{error:?} {}", kanbu_backup::fault::chain(&error)));
    let key: Vec<&str> = KEY.lines().collect();
    for text in seen {
        for secret in ["hunter2", REFRESH_TOKEN, "session/", key[2]] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn a_service_account_of_another_form_is_refused_without_repeating_it() {
    let good = json!({
        "client_email": EMAIL,
        "private_key_id": "key-1",
        "private_key": KEY,
        "token_uri": "https://oauth2.example/token",
    });
    Credentials::service_account(&good.to_string()).unwrap();
    for (field, value, word) in [
        ("private_key", "hunter2", "private_key"),
        ("token_uri", "http://oauth2.example/hunter2", "https"),
        ("client_email", "", "client_email"),
    ] {
        let mut bad = good.clone();
        bad[field] = if value.is_empty() {
            Value::Null
        } else {
            value.into()
        };
        let error = Credentials::service_account(&bad.to_string()).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(word) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn tokens_go_over_https_alone_and_a_folder_is_an_id() {
    let config = |folder: &str| DriveConfig::new(folder, FakeDrive::credentials()).unwrap();
    GoogleDrive::new(config("1AbC-d_9")).unwrap();
    for folder in [
        "",
        "a b",
        "x' or 'y",
        "https://drive.google.com/drive/folders/x",
    ] {
        GoogleDrive::new(config(folder)).unwrap_err();
    }
    for api in [
        "http://www.googleapis.com/",
        "ftp://127.0.0.1/",
        "http://127.0.0.1.example/",
    ] {
        let mut config = config("root");
        config.api = api.parse().unwrap();
        GoogleDrive::new(config).unwrap_err();
    }
}
