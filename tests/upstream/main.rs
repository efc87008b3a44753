//! The conformance suite: requirements on every network, checked through the traits of `windu::upstream` alone.
//!
//! A network joins by an implementation of [`network::Network`] and one line at the end of this file. No case
//! knows its network.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../support/mod.rs"]
mod support;

mod backlog;
mod backpressure;
mod block_list;
mod groups;
mod local;
mod media;
mod network;
mod nickname;
mod observer;
mod phone;
mod processes;
mod receipts;
mod registration;
mod text;
mod typing;
mod visibility;
mod xmpp;

/// Runs the cases of these files, each on a network of its own. A case that is missing here is dead code, which clippy
/// reports.
macro_rules! conformance {
    ($name:ident, $network:ty, [$($file:ident),+ $(,)?]) => {
        mod $name {
            $(conformance!(@ $file, $network);)+
        }
    };
    (@ registration, $network:ty) => {
        conformance!(@@ registration, $network,
            a_number_exists_from_registering_to_unregistering,
            unregistering_twice_is_no_failure,
            a_new_registration_empties_the_mailbox,
            a_new_registration_ends_the_open_connection,
            an_old_login_does_not_open,
            an_unregistered_login_does_not_open,
            unregistering_ends_the_open_connection,
        );
    };
    (@ text, $network:ty) => {
        conformance!(@@ text, $network,
            a_message_reaches_a_connected_receiver,
            texts_arrive_unchanged,
            three_numbers_receive_only_their_own_messages,
            a_message_to_oneself_arrives,
            one_id_sent_twice_arrives_with_the_same_id,
            a_message_to_an_unknown_number_is_refused_and_harms_no_other,
            empty_calls_are_no_failure,
            an_old_login_sends_nothing,
        );
    };
    (@ media, $network:ty) => {
        conformance!(@@ media, $network,
            a_file_of_each_kind_arrives_with_equal_bytes,
            a_file_waits_for_an_offline_receiver_and_can_be_fetched_again,
            a_file_that_was_never_sent_is_refused,
            locations_and_cards_arrive_unchanged,
        );
    };
    (@ backlog, $network:ty) => {
        conformance!(@@ backlog, $network,
            messages_wait_for_their_receiver_in_order,
            unacknowledged_messages_are_delivered_again,
            caught_up_comes_between_the_backlog_and_new_messages,
            a_backlog_above_every_limit_is_delivered_before_caught_up,
            caught_up_comes_at_once_when_nothing_waits,
        );
    };
    (@ receipts, $network:ty) => {
        conformance!(@@ receipts, $network,
            only_the_acknowledgement_makes_a_delivered_receipt,
            read_reaches_the_sender,
            receipts_wait_for_an_offline_sender,
            acknowledging_twice_makes_one_receipt,
            a_receipt_for_an_unregistered_number_is_no_failure,
        );
    };
    (@ typing, $network:ty) => {
        conformance!(@@ typing, $network,
            typing_reaches_a_connected_receiver,
            typing_to_an_offline_receiver_is_lost_without_harm,
        );
    };
    (@ nickname, $network:ty) => {
        conformance!(@@ nickname, $network,
            a_watcher_receives_the_nickname_at_once_and_when_it_changes,
            an_offline_watcher_receives_the_change_later,
            a_number_that_is_not_watched_any_more_sends_no_nickname,
            an_unacknowledged_nickname_is_delivered_again,
            a_watched_number_that_registers_later_sends_its_nickname,
        );
    };
    (@ visibility, $network:ty) => {
        conformance!(@@ visibility, $network,
            a_status_message_reaches_watchers_once,
            setting_the_same_state_again_sends_no_event,
            presence_is_live_for_online_watchers,
            two_concurrent_presence_changes_are_both_delivered,
            a_change_while_a_watch_begins_reaches_the_watcher,
            offline_watchers_learn_that_presence_is_hidden,
            each_privacy_setting_hides_its_part_from_its_audience,
            a_photo_is_announced_to_and_fetched_by_permitted_watchers_only,
            changes_of_the_contact_list_change_what_a_watcher_sees,
            an_unregistered_number_shows_nothing_any_more,
        );
    };
    (@ block_list, $network:ty) => {
        conformance!(@@ block_list, $network,
            messages_of_a_blocked_number_are_accepted_and_never_arrive,
            a_discarded_message_is_not_delivered_again_and_makes_no_receipt,
            neither_side_of_a_block_sees_the_other,
        );
    };
    (@ groups, $network:ty) => {
        conformance!(@@ groups, $network,
            a_group_is_created_and_all_members_are_notified,
            unknown_numbers_cannot_be_added,
            a_person_who_has_blocked_the_account_cannot_be_added,
            a_group_message_reaches_all_others,
            all_members_receive_messages_in_the_same_order,
            members_are_added_promoted_demoted_and_removed,
            every_member_may_change_the_subject,
            when_the_last_admin_leaves_another_member_becomes_admin,
            an_operation_id_is_applied_once,
            group_receipts_go_to_the_author,
            typing_in_a_group_reaches_all_others,
            an_offline_member_receives_the_groups_events_later,
            an_unregistered_number_leaves_its_groups,
            a_group_cannot_exceed_the_networks_limit,
        );
    };
    (@ processes, $network:ty) => {
        conformance!(@@ processes, $network,
            everything_reaches_another_process,
            a_new_registration_ends_the_connection_of_another_process,
        );
    };
    (@ backpressure, $network:ty) => {
        conformance!(@@ backpressure, $network,
            a_receiver_that_does_not_read_delays_nobody,
            unacknowledged_events_are_bounded_and_the_rest_follows,
            the_end_is_signalled_once_and_last,
            events_of_a_dropped_connection_are_delivered_again,
        );
    };
    (@@ $file:ident, $network:ty, $($case:ident),+ $(,)?) => {
        mod $file {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    if let Some(missing) = <$network as crate::network::Network>::missing() {
                        let case = concat!(module_path!(), "::", stringify!($case));
                        return crate::support::not_run::not_run(&format!("{case}: {missing}"));
                    }
                    crate::$file::$case(&<$network as crate::network::Network>::start().await).await;
                    let case = concat!(stringify!($file), "::", stringify!($case));
                    let lossy = <$network as crate::network::Network>::LOSSY;
                    if let Some((_, how)) = lossy.iter().find(|(name, _)| *name == case) {
                        // The name of the test, without the crate.
                        let (_, network) = module_path!().split_once("::").unwrap();
                        crate::support::not_run::lossy(&format!("{network}::{}: {how}", stringify!($case)));
                    }
                }
            )+
        }
    };
}

conformance!(
    on_local,
    crate::local::LocalNetwork,
    [
        registration,
        text,
        media,
        backlog,
        receipts,
        typing,
        nickname,
        visibility,
        block_list,
        groups,
        processes,
        backpressure
    ]
);
conformance!(
    on_prosody,
    crate::xmpp::OnProsody,
    [
        registration,
        text,
        media,
        backlog,
        receipts,
        typing,
        nickname,
        visibility,
        block_list,
        groups,
        processes,
        backpressure
    ]
);
conformance!(
    on_ejabberd,
    crate::xmpp::OnEjabberd,
    [
        registration,
        text,
        media,
        backlog,
        receipts,
        typing,
        nickname,
        visibility,
        block_list,
        groups,
        processes,
        backpressure
    ]
);
