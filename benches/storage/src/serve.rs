//! An S3 server over a directory: s3s, as in the tests, but without faults. It checks signatures and checksums.

use std::path::Path;

use anyhow::{Result, anyhow};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{auth::SimpleAuth, service::S3ServiceBuilder};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use crate::upload::{ACCESS_KEY_ID, SECRET_ACCESS_KEY, variable};

pub(crate) async fn serve(directory: &Path) -> Result<()> {
    let files = FileSystem::new(directory).map_err(|error| anyhow!("{error:?}"))?;
    let mut service = S3ServiceBuilder::new(files);
    service.set_auth(SimpleAuth::from_single(
        variable(ACCESS_KEY_ID)?,
        variable(SECRET_ACCESS_KEY)?,
    ));
    let service = service.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        tokio::spawn(async move {
            let served = Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                eprintln!("{error}");
            }
        });
    }
}
