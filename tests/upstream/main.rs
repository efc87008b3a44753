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

/// Runs every case, each on a network of its own. A case that is missing here is dead code, which
/// clippy reports.
macro_rules! conformance {
    ($name:ident, $network:ty) => {
        conformance!(@ $name, $network,
            registration::a_number_exists_from_registering_to_unregistering,
            registration::unregistering_twice_is_no_failure,
            registration::a_new_registration_empties_the_mailbox,
            registration::a_new_registration_ends_the_open_connection,
            registration::an_old_login_does_not_open,
            registration::an_unregistered_login_does_not_open,
            registration::unregistering_ends_the_open_connection,
            text::a_message_reaches_a_connected_receiver,
            text::texts_arrive_unchanged,
            text::three_numbers_receive_only_their_own_messages,
            text::a_message_to_oneself_arrives,
            text::one_id_sent_twice_arrives_with_the_same_id,
            text::a_message_to_an_unknown_number_is_refused_and_harms_no_other,
            text::empty_calls_are_no_failure,
            text::an_old_login_sends_nothing,
            media::a_file_of_each_kind_arrives_with_equal_bytes,
            media::a_file_waits_for_an_offline_receiver_and_can_be_fetched_again,
            media::a_file_that_was_never_sent_is_refused,
            media::locations_and_cards_arrive_unchanged,
            backlog::messages_wait_for_their_receiver_in_order,
            backlog::unacknowledged_messages_are_delivered_again,
            backlog::caught_up_comes_between_the_backlog_and_new_messages,
            backlog::a_backlog_above_every_limit_is_delivered_before_caught_up,
            backlog::caught_up_comes_at_once_when_nothing_waits,
            receipts::only_the_acknowledgement_makes_a_delivered_receipt,
            receipts::read_reaches_the_sender,
            receipts::receipts_wait_for_an_offline_sender,
            receipts::acknowledging_twice_makes_one_receipt,
            receipts::a_receipt_for_an_unregistered_number_is_no_failure,
            typing::typing_reaches_a_connected_receiver,
            typing::typing_to_an_offline_receiver_is_lost_without_harm,
            nickname::a_watcher_receives_the_nickname_at_once_and_when_it_changes,
            nickname::an_offline_watcher_receives_the_change_later,
            nickname::a_number_that_is_not_watched_any_more_sends_no_nickname,
            nickname::an_unacknowledged_nickname_is_delivered_again,
            nickname::a_watched_number_that_registers_later_sends_its_nickname,
            visibility::a_status_message_reaches_watchers_once,
            visibility::setting_the_same_state_again_sends_no_event,
            visibility::presence_is_live_for_online_watchers,
            visibility::two_concurrent_presence_changes_are_both_delivered,
            visibility::a_change_while_a_watch_begins_reaches_the_watcher,
            visibility::offline_watchers_learn_that_presence_is_hidden,
            visibility::each_privacy_setting_hides_its_part_from_its_audience,
            visibility::a_photo_is_announced_to_and_fetched_by_permitted_watchers_only,
            visibility::changes_of_the_contact_list_change_what_a_watcher_sees,
            visibility::an_unregistered_number_shows_nothing_any_more,
            block_list::messages_of_a_blocked_number_are_accepted_and_never_arrive,
            block_list::a_discarded_message_is_not_delivered_again_and_makes_no_receipt,
            block_list::neither_side_of_a_block_sees_the_other,
            groups::a_group_is_created_and_all_members_are_notified,
            groups::unknown_numbers_cannot_be_added,
            groups::a_person_who_has_blocked_the_account_cannot_be_added,
            groups::a_group_message_reaches_all_others,
            groups::all_members_receive_messages_in_the_same_order,
            groups::members_are_added_promoted_demoted_and_removed,
            groups::every_member_may_change_the_subject,
            groups::when_the_last_admin_leaves_another_member_becomes_admin,
            groups::an_operation_id_is_applied_once,
            groups::group_receipts_go_to_the_author,
            groups::typing_in_a_group_reaches_all_others,
            groups::an_offline_member_receives_the_groups_events_later,
            groups::an_unregistered_number_leaves_its_groups,
            groups::a_group_cannot_exceed_the_networks_limit,
            processes::everything_reaches_another_process,
            processes::a_new_registration_ends_the_connection_of_another_process,
            backpressure::a_receiver_that_does_not_read_delays_nobody,
            backpressure::unacknowledged_events_are_bounded_and_the_rest_follows,
            backpressure::the_end_is_signalled_once_and_last,
            backpressure::events_of_a_dropped_connection_are_delivered_again,
        );
    };
    (@ $name:ident, $network:ty, $($file:ident::$case:ident),+ $(,)?) => {
        mod $name {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    crate::$file::$case(&<$network as crate::network::Network>::start().await).await;
                }
            )+
        }
    };
}

conformance!(on_local, crate::local::LocalNetwork);
