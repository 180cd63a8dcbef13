use super::*;
use crate::config::Secret;

use crate::store::contract;

#[path = "../../../tests/suite/support/s3.rs"]
mod s3;

use s3::S3Server;

async fn open(s3: &S3Server, place: &Place) -> Result<BucketStore> {
    BucketStore::open(place, &|name| s3.variable(name)).await
}

#[tokio::test]
async fn a_bucket_keeps_the_contract() {
    let s3 = S3Server::start();
    for prefix in ["", "one", "deep/down"] {
        let store = open(&s3, &s3.place(prefix)).await.unwrap();
        contract::check(&store).await;
    }
}
