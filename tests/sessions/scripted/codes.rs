//! The codes of the scripted network of persons. It keeps under `session` what it did, in order, and under `login` the last
//! login that it gave.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use windu::domain::PhoneNumber;
use windu::upstream::{
    AdapterState, CodeMethod, Credentials, Failure, NetworkCode, Proof, SentCode, Submitted,
};

use super::{Call, Scripted};

#[async_trait]
impl NetworkCode for Scripted {
    fn usual_length(&self) -> usize {
        5
    }

    async fn start(
        &self,
        number: &PhoneNumber,
        method: CodeMethod,
        state: Arc<dyn AdapterState>,
    ) -> Result<SentCode, Failure> {
        assert_eq!(state.list("").await?, [], "a new registration has no state");
        self.line(number).call("start", Call::Start(method)).await?;
        note(&*state, "start").await?;
        Ok(self.sent(number, method))
    }

    async fn again(
        &self,
        number: &PhoneNumber,
        method: CodeMethod,
        state: Arc<dyn AdapterState>,
    ) -> Result<SentCode, Failure> {
        self.line(number).call("again", Call::Again(method)).await?;
        note(&*state, "again").await?;
        Ok(self.sent(number, method))
    }

    async fn submit(
        &self,
        number: &PhoneNumber,
        proof: &Proof,
        state: Arc<dyn AdapterState>,
    ) -> Result<Submitted, Failure> {
        let line = self.line(number);
        line.call("submit", Call::Submit(proof.clone())).await?;
        note(&*state, "submit").await?;
        let planned = line.script(|script| script.submissions.pop_front());
        let answer = planned.unwrap_or_else(|| {
            let count = line.calls().iter().filter(|call| matches!(call, Call::Submit(_))).count();
            Submitted::Done(Credentials(format!("login {count}").into_bytes()))
        });
        if let Submitted::Done(Credentials(login)) = &answer {
            state.put(&[("login", login.clone())]).await?;
        }
        Ok(answer)
    }
}

impl Scripted {
    fn sent(&self, number: &PhoneNumber, method: CodeMethod) -> SentCode {
        let planned = self.line(number).script(|script| script.codes.pop_front());
        planned.unwrap_or(SentCode { method, length: 5, again_after: Duration::ZERO })
    }
}

async fn note(state: &dyn AdapterState, what: &str) -> Result<(), Failure> {
    let mut session = state.get(&["session"]).await?.remove(0).unwrap_or_default();
    if !session.is_empty() {
        session.push(b' ');
    }
    session.extend(what.bytes());
    state.put(&[("session", session)]).await
}
