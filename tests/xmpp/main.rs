//! The network `xmpp` through the API of the real program, on real Prosody and ejabberd servers: accounts, messages,
//! people without a number, other servers, certificates, and faults between the program and its server.
//!
//! With `WINDU_TEST_SOAK=1` the faults come in twenty rounds instead of three.

#[path = "../support/mod.rs"]
mod support;

/// Makes a test of each of the named cases on each server: `NAME::on_prosody` and `NAME::on_ejabberd`.
macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        $(mod $name {
            use crate::support::xmpp::Software;

            #[tokio::test(flavor = "multi_thread")]
            async fn on_prosody() {
                if crate::world::is_installed() {
                    super::$name(Software::Prosody).await;
                }
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn on_ejabberd() {
                if crate::world::is_installed() {
                    super::$name(Software::Ejabberd).await;
                }
            }
        })+
    };
}

mod accounts;
mod certificates;
mod devices;
mod ended_groups;
mod faults;
mod federated;
mod files;
mod group_traffic;
mod groups;
mod invitations;
mod messages;
mod outsiders;
mod processes;
mod profiles;
mod traffic;
mod world;
