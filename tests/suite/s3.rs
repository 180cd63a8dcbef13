//! The program with a repository in a bucket, by a real S3 service.

use crate::support::S3Server;

#[test]
fn the_test_service_answers() {
    let s3 = S3Server::start();
    let client = crate::support::block_on(async {
        let socket = tokio::net::TcpStream::connect(s3.address()).await;
        socket.is_ok()
    });
    assert!(client);
}
