//! The hosts of a service by its SRV records (RFC 2782).

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;

use crate::secrets;

/// Asks the name servers of the system.
pub(super) async fn targets(name: &str) -> Vec<(String, u16)> {
    match TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build) {
        Ok(resolver) => targets_by(&resolver, name).await,
        Err(error) => {
            tracing::warn!(%error, "the settings of the name servers cannot be read");
            Vec::new()
        }
    }
}

/// Hosts and ports in the order in which they are to be tried. None when there are no records or the DNS does not answer.
async fn targets_by(resolver: &TokioResolver, name: &str) -> Vec<(String, u16)> {
    let found = match resolver.srv_lookup(name).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!(%error, "no SRV records");
            return Vec::new();
        }
    };
    let records = found.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some(srv.clone()),
        _ => None,
    });
    let mut records: Vec<_> = records
        // A root name says that there is no such service.
        .filter(|srv| !srv.target.is_root())
        .map(|srv| {
            // Heavier records are likely to come earlier: a random key to the power of 1/weight sorts that way.
            let random = secrets::random_below(1 << 32) + 1;
            #[expect(clippy::cast_precision_loss, reason = "32 bits fit")]
            let key = (random as f64 / f64::from(u32::MAX)).powf(1.0 / f64::from(srv.weight.max(1)));
            (srv.priority, key, srv.target.to_utf8().trim_end_matches('.').to_owned(), srv.port)
        })
        .collect();
    records.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.total_cmp(&one.1)));
    records.into_iter().map(|(_, _, target, port)| (target, port)).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{Name, Record};
    use tokio::net::UdpSocket;

    use super::*;

    const SERVICE: &str = "_xmpp-client._tcp.example.org.";

    /// What a name server with these records (priority, weight, port, target) makes of the service.
    async fn resolved(records: Vec<(u16, u16, u16, &'static str)>) -> Vec<(String, u16)> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().expect("an address").port();
        let server = NameServerConfig::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true, vec![connection]);
        let answering = async {
            let mut buffer = [0; 1_500];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.expect("a question");
                let question = Message::from_vec(&buffer[..length]).expect("a message");
                assert_eq!(question.queries[0].name().to_utf8(), SERVICE);
                let mut answer = question.into_response();
                for (priority, weight, port, target) in &records {
                    let target = Name::from_utf8(target).expect("a name");
                    let srv = SRV::new(*priority, *weight, *port, target);
                    answer.add_answer(Record::from_rdata(
                        Name::from_utf8(SERVICE).expect("a name"),
                        60,
                        RData::SRV(srv),
                    ));
                }
                socket.send_to(&answer.to_vec().expect("bytes"), from).await.expect("sent");
            }
        };
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build();
        let resolver = resolver.expect("a resolver");
        tokio::select! {
            targets = targets_by(&resolver, SERVICE) => targets,
            never = answering => never,
        }
    }

    #[tokio::test]
    async fn targets_are_tried_by_priority_and_the_root_is_none() {
        let targets = resolved(vec![
            (20, 0, 5222, "backup.example.org."),
            (10, 0, 443, "chat.example.org."),
            (30, 0, 5222, "."),
        ])
        .await;
        assert_eq!(targets, [("chat.example.org".to_owned(), 443), ("backup.example.org".to_owned(), 5222)]);
    }

    #[tokio::test]
    async fn heavier_targets_come_first_more_often() {
        let mut heavy_first = 0;
        for _ in 0..60 {
            let targets =
                resolved(vec![(0, 1, 1, "light.example.org."), (0, 20, 2, "heavy.example.org.")]).await;
            heavy_first += usize::from(targets[0].1 == 2);
        }
        // 57 are expected; fewer than 40 come once in more than 10^12 runs.
        assert!(heavy_first >= 40, "{heavy_first} of 60");
    }

    #[tokio::test]
    async fn without_records_there_are_no_targets() {
        assert!(resolved(Vec::new()).await.is_empty());
    }
}
