//! The rules of a cluster that are this crate's own: who may be told, who counts as lost, who may vote, lead and answer.
//!
//! Always: pure, without a clock: times are arguments. The members obey these functions, and so does the model that visits every
//! reachable state of a small cluster (`tests/every_state`). Never here: elections and the log's order; those are raft's.

use std::time::Duration;

use crate::member::{Hello, Part, ProcessRun, Timing};

/// What one member knows of another's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Other {
    /// What it keeps.
    pub part: Part,
    /// The newest entry it has confirmed.
    pub acknowledged: Option<u64>,
    /// It is not waited for.
    pub is_lost: bool,
}

impl Other {
    fn has(&self, index: u64) -> bool {
        self.acknowledged.is_some_and(|newest| newest >= index)
    }
}

/// The **hold rule**: an entry may go to a watch when a data member that is waited for has it. Is none waited for, it must be on this
/// member's own disk: else the watch could know of an entry that no data member has after a crash, and then nobody could lead.
pub fn may_go_to_watch(
    index: u64,
    is_on_disk_here: bool,
    others: impl IntoIterator<Item = Other>,
) -> bool {
    let mut is_anyone_waited_for = false;
    for other in others {
        if other.part == Part::Data && !other.is_lost {
            if other.has(index) {
                return true;
            }
            is_anyone_waited_for = true;
        }
    }
    !is_anyone_waited_for && is_on_disk_here
}

/// Whether the watch may be left without news for a [`watch_rest`]: while every other data member is waited for, no commit needs
/// the watch. What it is told later it would have been told by a slower link later, too.
pub fn may_leave_watch_alone(others: impl IntoIterator<Item = Other>) -> bool {
    let mut data = others
        .into_iter()
        .filter(|other| other.part == Part::Data)
        .peekable();
    data.peek().is_some() && data.all(|other| !other.is_lost)
}

/// So long a watch rests between two pieces of news: its disk and its machine are spared, and so is the active member.
pub fn watch_rest(timing: &Timing) -> Duration {
    timing.heartbeat / 5
}

/// Returns how long nothing is sent to a witness: each entry that it gets costs the cluster that records it a commit. The rest is bounded,
/// because the witness must get what it has missed after a data member is lost. Until then the beginning of the log cannot be purged.
pub fn witness_rest(timing: &Timing) -> Duration {
    timing.heartbeat * 40
}

/// Returns how long an entry may be unconfirmed by the data members before the rest of the witness ends. The entry then comes under the
/// [hold rule](may_go_to_watch), so that a silent data member counts as lost.
pub fn witness_look(timing: &Timing) -> Duration {
    watch_rest(timing) * 3
}

/// So long the news that entries are committed may wait for the next entries: the standby needs it for nothing that is urgent, and a
/// message of its own after each commit would meet the next command.
pub fn commit_rest(timing: &Timing) -> Duration {
    timing.heartbeat / 10
}

/// After so long without a word to say a member says that it lives.
pub fn sign_of_life(timing: &Timing) -> Duration {
    timing.silence_max * 2
}

/// A connection on which nothing has come for so long leads nowhere, though nobody has closed it. TCP alone would take it up again
/// seconds after a cut link is whole, by when its third vote may be needed: a new connection is there sooner.
pub fn link_silence(own: &Timing, other: &Timing) -> Duration {
    own.silence_max.max(other.silence_max) * 4
}

/// Whether a member is given up when the hold time for this entry is over.
pub fn is_waited_for_in_vain(other: &Other, index: u64) -> bool {
    other.part == Part::Data && !other.has(index)
}

/// Whether a member that was lost is waited for again: it has everything that the active one has.
pub fn has_caught_up(acknowledged: Option<u64>, newest: u64) -> bool {
    acknowledged.is_some_and(|acknowledged| acknowledged >= newest)
}

/// A leader is the active member from its first committed entry on: before, it does not know what else is committed.
pub fn is_active(leads_in: Option<u64>, newest_committed_term: u64) -> bool {
    leads_in == Some(newest_committed_term)
}

/// What a member that may be the active one knows of its own right to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// As [`is_active`] says.
    pub is_active: bool,
    /// It has asked another one to lead: from then on that one may be active, without having waited for any silence.
    pub has_handed_over: bool,
    /// Members with a vote, itself among them.
    pub voters: usize,
    /// So long ago it sent what a majority has answered since.
    pub heard_for: Option<Duration>,
    /// As [`lease`] says.
    pub lease: Duration,
}

/// Whether a member may answer as the active one. One that slept finds here that another may have followed it.
pub fn may_answer(claim: &Claim) -> bool {
    claim.is_active
        && !claim.has_handed_over
        && (claim.voters < 2 || claim.heard_for.is_some_and(|heard| heard < claim.lease))
}

/// So long after it was heard by a majority the active member may answer.
pub fn lease(timing: &Timing) -> Duration {
    timing.silence_min
}

/// So long a member gives no vote after it has heard the active one. It is longer than the [`lease`] by what clocks may differ.
pub fn patience(timing: &Timing) -> Duration {
    timing.silence_min + timing.silence_min / 8
}

/// What a member knows when it is asked for its vote, or wants to vote for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ballot {
    /// The active member itself has asked for this election: it has stopped to answer before.
    pub is_handed_over: bool,
    /// So long ago this member was opened: what it heard before then, it has forgotten.
    pub opened_for: Duration,
    /// So long ago it heard an active member.
    pub heard_for: Option<Duration>,
    /// As [`patience`] says, the longest of all members.
    pub patience: Duration,
}

/// What becomes of a request for a vote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voting {
    /// Terms and logs decide.
    Open,
    /// After so long: this member may have heard an active one before it was opened.
    Later(Duration),
    /// An active member was heard just now.
    Refused,
}

/// Whether a vote may be given now, so that nobody becomes active while another one may still answer.
pub fn voting(ballot: &Ballot) -> Voting {
    if ballot.is_handed_over {
        return Voting::Open;
    }
    if ballot
        .heard_for
        .is_some_and(|heard| heard < ballot.patience)
    {
        return Voting::Refused;
    }
    match ballot.patience.checked_sub(ballot.opened_for) {
        Some(rest) if !rest.is_zero() => Voting::Later(rest),
        Some(_) | None => Voting::Open,
    }
}

/// Returns how long a member waits, after it has last heard the active member, before it asks for votes. Its own consensus refuses to ask
/// within the longest silence. `drawn` is from the range of the silences.
pub fn campaign_after(timing: &Timing, drawn: Duration) -> Duration {
    timing.silence_max + drawn
}

/// Returns how often a watch or a witness gets a heartbeat while no commit and no lease needs its answers, see [`may_spare_third_vote`].
/// This is often enough that neither side needs other signs of life.
pub fn spared_beat(timing: &Timing) -> Duration {
    timing.silence_max * 3 / 2
}

/// Returns whether a heartbeat to the third vote of a pair may be left out. This is so if the other members are a majority together with
/// the active member and have answered its previous heartbeat. `has_answered` contains one value for each of the other data members, see
/// [`Beats::has_answered_previous`](crate::beats::Beats::has_answered_previous).
///
/// The right of the active member to answer is not affected, because it follows from the answers of the majority. As soon as one heartbeat
/// is not answered, the third vote gets the next one, well within the [`lease`].
pub fn may_spare_third_vote(
    others: impl IntoIterator<Item = Other>,
    has_answered: impl IntoIterator<Item = bool>,
) -> bool {
    may_leave_watch_alone(others) && has_answered.into_iter().all(|has_answered| has_answered)
}

/// Whether a member may become the active one at all.
pub fn may_lead(part: Part) -> bool {
    part == Part::Data
}

/// A member that has handed over and still leads after this time begins anew: its log takes nothing any more, and the one
/// it was handed to is gone.
pub fn hand_over_within(timing: &Timing) -> Duration {
    timing.silence_max * 4
}

/// Returns whether the active member of `term` was elected because the active member of the term `handed_in` asked it to take over. This is
/// so only if `term` is the very next one: in a later term it was elected because no member led. `handed_in` is 0 if no member asked.
pub fn was_handed_over(term: u64, handed_in: u64) -> bool {
    handed_in != 0 && handed_in + 1 == term
}

/// Why two members do not speak with each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Another log.
    #[error("{other} belongs to another cluster than {me}")]
    Foreign {
        /// Who hears.
        me: String,
        /// Who wants to speak.
        other: String,
    },
    /// Another log of the same name.
    #[error(
        "{other} keeps another log than {me}, though both logs have the same name: no member belongs to both. Either its address is wrong, or it began a log alone, or all members of its log have been replaced meanwhile; correct the address, or give it an empty directory and let it join"
    )]
    OtherLog {
        /// Who hears.
        me: String,
        /// Who wants to speak.
        other: String,
    },
    /// One directory is a copy of the other.
    #[error(
        "{other} has the number of {me}: one directory is a copy of the other; give one of them an empty directory and let it join"
    )]
    SameNumber {
        /// Who hears.
        me: String,
        /// Who wants to speak.
        other: String,
    },
    /// The right to answer depends on equal times.
    #[error(
        "{other} has heartbeat {:?} and silence {:?}, but {me} has {:?} and {:?}: with unequal times an active member could answer while another one has followed it; give both the same settings cluster.heartbeat and cluster.silence", times.0.heartbeat, times.0.silence_min, times.1.heartbeat, times.1.silence_min
    )]
    OtherTiming {
        /// Who hears.
        me: String,
        /// Who wants to speak.
        other: String,
        /// Its times, and those here.
        times: Box<(Timing, Timing)>,
    },
    /// It only wants to know who is here.
    #[error("{other} has asked who is here; it has no log yet")]
    OnlyAsked {
        /// Who asked.
        other: String,
    },
}

/// Whether two members may speak with each other. A watch follows the members' times ([`patience_with`]).
pub fn agree(me: &Hello, other: &Hello) -> Result<(), Disagreement> {
    let (mine, theirs) = (me.timing, other.timing);
    let named = || (me.to_string(), other.to_string());
    if me.cluster != other.cluster {
        let (me, other) = named();
        return Err(Disagreement::Foreign { me, other });
    }
    if other.member == Hello::NOBODY {
        let (_, other) = named();
        return Err(Disagreement::OnlyAsked { other });
    }
    if me.member == other.member {
        let (me, other) = named();
        return Err(Disagreement::SameNumber { me, other });
    }
    if !may_be_one_log(me, other) {
        let (me, other) = named();
        return Err(Disagreement::OtherLog { me, other });
    }
    if me.part == Part::Data && other.part == Part::Data && mine != theirs {
        let (me, other) = named();
        return Err(Disagreement::OtherTiming {
            me,
            other,
            times: Box::new((theirs, mine)),
        });
    }
    Ok(())
}

/// Returns whether two members can keep one log, given the members that each of them knows, possibly of different times. The numbers are
/// drawn at random, so one number in common is proof enough. A member that does not belong to a log yet may join any. A member that learns
/// a log from its beginning knows only the members of that time, and all of them may have been replaced since: then the other side knows
/// this member by its number. Two logs must never meet: consensus would splice one into the other.
fn may_be_one_log(me: &Hello, other: &Hello) -> bool {
    let (mine, theirs) = (&me.members, &other.members);
    mine.is_empty()
        || theirs.is_empty()
        || mine.contains(&other.member)
        || theirs.contains(&me.member)
        || mine.iter().any(|member| theirs.contains(member))
}

/// Whether `other` knows that the cluster goes on without this member, which has belonged to it. One that has not heard yet that
/// this one was taken in does not know.
pub fn has_removed(other: &Hello, me: &Hello) -> bool {
    other.part == Part::Data
        && !me.members.is_empty()
        && other.members_since >= me.members_since
        && !other.members.is_empty()
        && !other.members.contains(&me.member)
}

/// The patience of a member that has also heard of these times: that of the most patient one.
pub fn patience_with(patience_before: Duration, other: &Hello) -> Duration {
    patience_before.max(patience(&other.timing))
}

/// Whether a member with an empty directory has to join although it was told to begin alone: somebody whom it knows has this
/// log already, and a second one must not come into being.
pub fn must_join<'a>(met: impl IntoIterator<Item = &'a Hello>) -> Option<&'a Hello> {
    met.into_iter().find(|hello| !hello.members.is_empty())
}

/// Returns whether one of these members keeps the events of the log to which the member with this number belongs.
pub fn have_log_of<'a>(number: u64, met: impl IntoIterator<Item = &'a Hello>) -> bool {
    let mut met = met.into_iter();
    met.any(|hello| hello.part == Part::Data && hello.members.contains(&number))
}

/// Returns whether a member may set its damaged log aside and learn it again. `has_active` is whether another member is active and
/// connected. The connected voters must be a majority without this member. `voters` is the number of all voters, `connected` the number of
/// the connected ones except this member.
pub fn may_learn_anew(has_active: bool, voters: usize, connected: usize) -> bool {
    has_active && connected * 2 > voters
}

/// Returns the reason why the process that introduces itself is refused as the second one of its member. `connected` is the process of the
/// member that is connected, if it has identified itself.
pub(crate) fn double(hello: &Hello, connected: Option<&ProcessRun>) -> Option<String> {
    let (new, connected) = (hello.run.as_ref()?, connected?);
    // Another process may continue a witness while its predecessor is still connected.
    if new.id == connected.id || hello.part == Part::Witness {
        return None;
    }
    Some(format!(
        "two processes are {hello}: connected is the one at {}, refused is the one at {}. One directory is a copy of the other, or was restored beside it: stop the process that is not wanted, and give it an empty directory if it is to be another member",
        connected.place, new.place
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beats;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn other(part: Part, acknowledged: Option<u64>, is_lost: bool) -> Other {
        Other {
            part,
            acknowledged,
            is_lost,
        }
    }

    fn hello(member: u64, part: Part) -> Hello {
        Hello {
            cluster: "controller:Controller".to_owned(),
            member,
            name: format!("member-{member}"),
            part,
            timing: Timing::default(),
            members: Vec::new(),
            members_since: None,
            url: None,
            run: None,
        }
    }

    #[test]
    fn a_second_process_of_a_connected_member_is_refused_with_both_places() {
        let run = |id: &str, place: &str| ProcessRun {
            id: id.to_owned(),
            place: place.to_owned(),
        };
        let (first, second) = (run("1", "http://one:1"), run("2", "http://two:1"));
        let says = |part, run: &ProcessRun| Hello {
            run: Some(run.clone()),
            ..hello(1, part)
        };
        for part in [Part::Data, Part::Watch] {
            let told = double(&says(part, &second), Some(&first)).expect("refused");
            assert!(
                told.contains("http://one:1") && told.contains("http://two:1"),
                "{told}"
            );
            assert_eq!(
                double(&says(part, &first), Some(&first)),
                None,
                "a second connection"
            );
            assert_eq!(double(&says(part, &second), None), None, "its successor");
            assert_eq!(
                double(&hello(1, part), Some(&first)),
                None,
                "an earlier version"
            );
        }
        assert_eq!(double(&says(Part::Witness, &second), Some(&first)), None);
    }

    #[test]
    fn a_watch_is_told_after_the_standby() {
        let behind = other(Part::Data, Some(6), false);
        let has_it = other(Part::Data, Some(7), false);
        let watch = other(Part::Watch, Some(9), false);
        assert!(!may_go_to_watch(7, true, [behind, watch]));
        assert!(may_go_to_watch(7, true, [has_it, watch]));
        assert!(
            may_go_to_watch(7, false, [has_it]),
            "the standby can lead with it, whatever becomes of this one"
        );
        assert!(!may_go_to_watch(
            7,
            true,
            [other(Part::Data, None, false), watch]
        ));
        assert!(
            may_go_to_watch(7, true, [behind, has_it]),
            "with three data members one of the others is enough"
        );
    }

    #[test]
    fn only_the_next_term_is_the_one_that_was_handed_over() {
        assert!(was_handed_over(8, 7));
        assert!(!was_handed_over(9, 7), "it was elected later, by itself");
        assert!(!was_handed_over(7, 7));
        assert!(!was_handed_over(1, 0), "nobody has asked it to");
    }

    #[test]
    fn a_member_is_as_patient_as_the_most_patient_one_it_has_heard_of() {
        let with = |silence_min| {
            let mut hello = hello(2, Part::Data);
            hello.timing.silence_min = millis(silence_min);
            hello
        };
        let long = patience(&with(800).timing);
        let own = patience(&Timing::default());
        assert_eq!(patience_with(own, &with(800)), long);
        assert_eq!(
            patience_with(long, &with(150)),
            long,
            "the one heard last is not the most patient one"
        );
    }

    #[test]
    fn a_hand_over_that_fails_is_given_up_soon() {
        let timing = Timing::default();
        let within = hand_over_within(&timing);
        assert!(
            within > timing.silence_max,
            "the other one has the time for an election"
        );
        assert!(
            within <= timing.silence_max * 10,
            "nobody answers meanwhile"
        );
    }

    #[test]
    fn a_damaged_member_learns_anew_only_where_the_others_can_do_without_it() {
        assert!(may_learn_anew(true, 3, 2));
        assert!(
            !may_learn_anew(true, 3, 1),
            "then nothing could be committed"
        );
        assert!(!may_learn_anew(false, 3, 2), "nobody has the log for sure");
        assert!(!may_learn_anew(true, 2, 1));
        assert!(may_learn_anew(true, 5, 3));
        let data = |members: &[u64]| Hello {
            members: members.to_vec(),
            ..hello(1, Part::Data)
        };
        assert!(have_log_of(7, [&data(&[1, 7])]));
        assert!(!have_log_of(7, [&data(&[1, 8]), &data(&[])]));
        let watch = Hello {
            members: vec![1, 7],
            ..hello(1, Part::Watch)
        };
        assert!(!have_log_of(7, [&watch]), "a watch keeps no events");
    }

    #[test]
    fn a_watch_rests_only_while_no_commit_needs_it() {
        let standby = |is_lost| other(Part::Data, Some(7), is_lost);
        let watch = other(Part::Watch, Some(3), true);
        assert!(may_leave_watch_alone([standby(false), watch]));
        assert!(!may_leave_watch_alone([standby(true), watch]));
        assert!(!may_leave_watch_alone([standby(false), standby(true)]));
        assert!(
            !may_leave_watch_alone([watch]),
            "active member and watch are the majority"
        );
    }

    #[test]
    fn a_third_vote_gets_every_heartbeat_as_soon_as_a_member_does_not_answer() {
        let timing = Timing::default();
        let standby = |is_lost| other(Part::Data, Some(7), is_lost);
        let watch = other(Part::Watch, Some(3), true);
        let spare = |standby, has_answered| may_spare_third_vote([standby, watch], [has_answered]);
        assert!(spare(standby(false), true), "it has answered the last");
        assert!(!spare(standby(false), false), "one is not answered");
        assert!(!spare(standby(true), true), "it is not relied upon");
        assert!(
            !may_spare_third_vote([watch], []),
            "active member and watch are the majority"
        );
        let latest = spared_beat(&timing) + beats::put_off_beat(&timing);
        assert!(
            latest <= sign_of_life(&timing),
            "a heartbeat comes before a member would say that it lives"
        );
        assert!(
            sign_of_life(&timing) * 2 <= link_silence(&timing, &timing),
            "one sign of life may be lost"
        );
    }

    #[test]
    fn nobody_asks_for_votes_before_the_active_member_has_stopped_to_answer() {
        let timing = Timing::default();
        let earliest = campaign_after(&timing, timing.silence_min);
        assert!(earliest > lease(&timing));
        assert!(earliest > patience(&timing));
    }

    #[test]
    fn without_a_standby_a_watch_is_told_after_the_own_disk() {
        let lost = other(Part::Data, Some(3), true);
        assert!(!may_go_to_watch(7, false, [lost]));
        assert!(may_go_to_watch(7, true, [lost]));
        assert!(may_go_to_watch(7, true, []));
        assert!(!may_go_to_watch(7, false, []));
        assert!(
            !may_go_to_watch(7, false, [other(Part::Data, Some(7), true)]),
            "a lost one is not relied upon"
        );
    }

    #[test]
    fn who_lacks_an_entry_for_too_long_is_lost_and_comes_back_with_everything() {
        let behind = other(Part::Data, Some(6), false);
        assert!(is_waited_for_in_vain(&behind, 7));
        assert!(!is_waited_for_in_vain(&behind, 6));
        assert!(!is_waited_for_in_vain(&other(Part::Watch, None, false), 7));
        assert!(!has_caught_up(None, 0));
        assert!(!has_caught_up(Some(6), 7));
        assert!(has_caught_up(Some(7), 7));
    }

    #[test]
    fn s100_only_who_was_heard_by_a_majority_just_now_answers_as_the_active_one() {
        let claim = Claim {
            is_active: true,
            has_handed_over: false,
            voters: 3,
            heard_for: Some(millis(149)),
            lease: millis(150),
        };
        assert!(may_answer(&claim));
        let slept = Claim {
            heard_for: Some(millis(150)),
            ..claim
        };
        assert!(!may_answer(&slept));
        let unheard = Claim {
            heard_for: None,
            ..claim
        };
        assert!(!may_answer(&unheard));
        let one_of_two = Claim {
            voters: 2,
            ..unheard
        };
        assert!(!may_answer(&one_of_two), "alone it is no majority");
        let alone = Claim {
            voters: 1,
            ..unheard
        };
        assert!(may_answer(&alone), "alone it is the majority");
        let handed_over = Claim {
            has_handed_over: true,
            ..claim
        };
        assert!(!may_answer(&handed_over));
        let elected = Claim {
            is_active: false,
            ..claim
        };
        assert!(!may_answer(&elected));
        assert!(is_active(Some(4), 4));
        assert!(!is_active(Some(4), 3), "nothing of its own is committed");
        assert!(!is_active(None, 3));
    }

    #[test]
    fn nobody_votes_while_the_active_member_may_still_answer() {
        let timing = Timing::default();
        assert!(patience(&timing) > lease(&timing));
        let ballot = Ballot {
            is_handed_over: false,
            opened_for: millis(10_000),
            heard_for: None,
            patience: millis(170),
        };
        assert_eq!(voting(&ballot), Voting::Open);
        let heard = Ballot {
            heard_for: Some(millis(169)),
            ..ballot
        };
        assert_eq!(voting(&heard), Voting::Refused);
        let long_ago = Ballot {
            heard_for: Some(millis(170)),
            ..ballot
        };
        assert_eq!(voting(&long_ago), Voting::Open);
        let asked_by_the_active = Ballot {
            is_handed_over: true,
            ..heard
        };
        assert_eq!(voting(&asked_by_the_active), Voting::Open);
    }

    #[test]
    fn a_member_that_was_just_started_remembers_not_whom_it_heard_and_waits() {
        let ballot = Ballot {
            is_handed_over: false,
            opened_for: millis(20),
            heard_for: None,
            patience: millis(170),
        };
        assert_eq!(voting(&ballot), Voting::Later(millis(150)));
        let waited = Ballot {
            opened_for: millis(170),
            ..ballot
        };
        assert_eq!(voting(&waited), Voting::Open);
    }

    #[test]
    fn members_with_unequal_times_do_not_speak_and_a_watch_is_as_patient_as_the_members() {
        let me = hello(1, Part::Data);
        let mut slow = hello(2, Part::Data);
        assert_eq!(agree(&me, &slow), Ok(()));
        slow.timing.silence_min = millis(500);
        let told = agree(&me, &slow).map_err(|e| e.to_string());
        assert!(
            matches!(&told, Err(text) if text.contains("500ms") && text.contains("150ms") && text.contains("cluster.silence")),
            "{told:?}"
        );
        let watch = hello(3, Part::Watch);
        assert_eq!(agree(&watch, &slow), Ok(()));
        let own = patience(&watch.timing);
        assert!(patience_with(own, &slow) > lease(&slow.timing));
        assert_eq!(patience_with(own, &me), own);
    }

    #[test]
    fn members_of_other_logs_and_copies_of_a_directory_are_told_apart() {
        let me = hello(1, Part::Data);
        let mut foreign = hello(2, Part::Data);
        foreign.cluster = "controller:Other".to_owned();
        assert!(matches!(
            agree(&me, &foreign),
            Err(Disagreement::Foreign { .. })
        ));
        assert!(matches!(
            agree(&me, &me),
            Err(Disagreement::SameNumber { .. })
        ));
        let asking = hello(Hello::NOBODY, Part::Data);
        assert!(matches!(
            agree(&me, &asking),
            Err(Disagreement::OnlyAsked { .. })
        ));
    }

    #[test]
    fn two_logs_of_one_name_are_told_apart_by_their_members() {
        let with = |member, members: &[u64]| {
            let mut hello = hello(member, Part::Data);
            hello.members = members.to_vec();
            hello
        };
        let me = with(11, &[11, 12, 13]);
        let foreign = with(21, &[21]);
        let told = agree(&me, &foreign).map_err(|e| e.to_string());
        assert!(
            matches!(&told, Err(text) if text.contains("another log") && text.contains("empty directory")),
            "{told:?}"
        );
        let waiting = with(22, &[]);
        assert_eq!(agree(&me, &waiting), Ok(()));
        assert_eq!(agree(&waiting, &foreign), Ok(()));
        let one_that_was_away_for_long = with(14, &[14, 13, 10]);
        assert_eq!(agree(&me, &one_that_was_away_for_long), Ok(()));
    }

    #[test]
    fn a_member_that_learns_knows_only_the_first_members_and_is_known_by_its_number() {
        let with = |member, members: &[u64]| {
            let mut hello = hello(member, Part::Data);
            hello.members = members.to_vec();
            hello
        };
        let active = with(12, &[12, 13, 14]);
        let learns = with(14, &[10]);
        assert_eq!(agree(&active, &learns), Ok(()));
        assert_eq!(agree(&learns, &active), Ok(()));
        let unknown = with(15, &[10]);
        assert!(agree(&active, &unknown).is_err());
        assert!(agree(&unknown, &active).is_err());
    }

    #[test]
    fn an_empty_directory_joins_when_somebody_has_the_log_already() {
        let waiting = hello(7, Part::Data);
        let mut member = hello(8, Part::Data);
        member.members = vec![1, 8, 9];
        assert_eq!(must_join([&waiting]), None);
        assert_eq!(must_join([&waiting, &member]), Some(&member));
    }

    #[test]
    fn news_that_nobody_waits_for_is_collected_and_comes_in_time() {
        let timing = Timing::default();
        let is_between = |rest: Duration, least: Duration, most: Duration| {
            assert!(
                least < rest && rest <= most,
                "{rest:?}: {least:?} to {most:?}"
            );
        };
        is_between(commit_rest(&timing), Duration::ZERO, timing.heartbeat / 2);
        is_between(watch_rest(&timing), Duration::ZERO, timing.heartbeat / 2);
        // A data member that does not confirm is noticed before a commit waits for it longer than for a heartbeat.
        is_between(witness_look(&timing), watch_rest(&timing), timing.heartbeat);
        // A recorded commit for each heartbeat would cost the other cluster too much.
        is_between(
            witness_rest(&timing),
            timing.heartbeat * 10,
            Duration::from_secs(10),
        );
        is_between(
            spared_beat(&timing),
            timing.heartbeat,
            sign_of_life(&timing),
        );
    }

    #[test]
    fn only_a_member_that_knows_newer_members_knows_that_this_one_was_removed() {
        let with = |part, member, members: &[u64], since| Hello {
            members: members.to_vec(),
            members_since: since,
            ..hello(member, part)
        };
        let me = with(Part::Data, 3, &[1, 2, 3], Some((4, 9)));
        let knows = |other: &Hello| has_removed(other, &me);
        assert!(knows(&with(Part::Data, 1, &[1, 2], Some((4, 10)))));
        assert!(knows(&with(Part::Data, 1, &[1, 2], Some((4, 9)))));
        assert!(
            !knows(&with(Part::Data, 1, &[1, 2], Some((4, 8)))),
            "it has not heard yet that this one was taken in"
        );
        assert!(!knows(&with(Part::Data, 1, &[1, 2], None)));
        assert!(
            !knows(&with(Part::Data, 1, &[1, 2, 3], Some((4, 10)))),
            "this one belongs to them"
        );
        assert!(!knows(&with(Part::Data, 1, &[], Some((4, 10)))));
        assert!(
            !knows(&with(Part::Watch, 1, &[1, 2], Some((4, 10)))),
            "a watch does not know for sure"
        );
        let joins = with(Part::Data, 3, &[], None);
        assert!(
            !has_removed(&with(Part::Data, 1, &[1, 2], Some((4, 10))), &joins),
            "it has never belonged to them"
        );
    }

    #[test]
    fn a_watch_never_leads() {
        assert!(may_lead(Part::Data));
        assert!(!may_lead(Part::Watch));
    }
}
