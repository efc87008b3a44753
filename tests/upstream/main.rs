//! What every network must do for us, seen through the traits of `windu::upstream` alone.
//!
//! A network joins by an implementation of [`network::Network`] and one line at the end of this file. Nothing below
//! a case knows which network it runs against.

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

/// Runs every case against a network, each on a network of its own. A case that is missing here is dead code, which
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
            text::a_message_reaches_somebody_who_is_connected,
            text::texts_arrive_as_they_were_sent,
            text::three_people_hear_only_what_is_meant_for_them,
            text::a_message_to_oneself_arrives,
            text::one_id_sent_twice_arrives_with_the_same_id,
            text::nobody_there_is_a_refusal_and_harms_no_other,
            text::nothing_to_send_is_no_failure,
            text::an_old_login_sends_nothing,
            media::a_file_of_each_kind_arrives_with_equal_bytes,
            media::a_file_waits_for_who_is_away_and_can_be_fetched_again,
            media::a_file_that_was_never_sent_is_refused,
            media::places_and_cards_arrive_as_they_were_sent,
            backlog::messages_wait_for_their_receiver_in_order,
            backlog::what_was_not_acknowledged_is_told_again,
            backlog::caught_up_stands_between_the_backlog_and_what_is_new,
            backlog::a_backlog_above_every_bound_is_told_before_caught_up,
            backlog::caught_up_comes_at_once_when_nothing_waits,
            receipts::delivered_follows_the_acknowledgement_and_nothing_else,
            receipts::read_reaches_the_sender,
            receipts::receipts_wait_for_a_sender_who_is_away,
            receipts::acknowledging_twice_makes_one_receipt,
            receipts::a_receipt_for_somebody_gone_is_no_failure,
            typing::typing_is_shown_to_somebody_who_is_connected,
            typing::typing_to_somebody_away_is_lost_without_harm,
            nickname::a_watcher_hears_the_nickname_at_once_and_when_it_changes,
            nickname::a_watcher_that_was_away_hears_the_change,
            nickname::who_left_the_list_is_not_heard_of,
            nickname::a_nickname_told_and_not_acknowledged_is_told_again,
            nickname::a_number_that_registers_later_is_heard_of,
            visibility::a_status_message_reaches_watchers_once,
            visibility::repeating_what_is_so_already_tells_nothing,
            visibility::presence_is_live_for_those_who_are_online,
            visibility::of_two_changes_at_the_same_moment_none_is_missed,
            visibility::that_presence_is_hidden_is_told_to_those_who_are_offline_too,
            visibility::each_setting_hides_what_it_says_from_whom_it_says,
            visibility::a_photo_is_told_of_and_fetched_by_those_who_may_see_it,
            visibility::who_leaves_or_enters_the_contact_list_sees_less_or_more,
            visibility::who_leaves_the_network_shows_nothing_any_more,
            block_list::what_somebody_blocked_sends_is_taken_and_never_arrives,
            block_list::what_is_discarded_is_not_told_again_and_makes_no_receipt,
            block_list::neither_side_of_a_block_sees_the_other,
            groups::a_group_is_made_and_all_in_it_are_told,
            groups::nobody_is_added_who_is_not_there,
            groups::what_is_said_in_a_group_reaches_all_others,
            groups::all_find_what_is_said_in_the_same_order,
            groups::members_come_and_go,
            groups::every_member_may_change_the_subject,
            groups::the_last_admin_who_leaves_hands_over,
            groups::an_operation_is_done_once,
            groups::receipts_of_a_group_go_to_who_wrote,
            groups::typing_in_a_group_is_shown_to_all_others,
            groups::who_was_away_hears_of_a_group_what_the_others_heard,
            groups::a_number_that_goes_leaves_its_groups,
            groups::a_group_is_no_larger_than_the_network_takes,
            processes::everything_reaches_another_process,
            processes::a_new_registration_ends_the_connection_of_another_process,
            backpressure::a_receiver_that_does_not_read_stops_nobody,
            backpressure::what_is_told_and_not_acknowledged_is_bounded_and_the_rest_follows,
            backpressure::the_end_is_told_once_and_last,
            backpressure::a_dropped_connection_gives_up_what_it_was_told,
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
