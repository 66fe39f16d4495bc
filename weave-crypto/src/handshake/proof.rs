//! The password exchange as part of link set-up: its three messages, and what each side makes of them.
//!
//! The dialler proves first. So a stranger that dials is told nothing but whether its guess was right, and the listener knows
//! of each guess; a stranger that listens can check the tags it gets against the passwords it settled with before it saw them,
//! one for each instance, and against no other.

use zeroize::Zeroizing;

use super::{HandshakeError, LinkHandshake, Step, write_message};
use crate::admission::{ELEMENT_BYTES, Exchange, SharedKeys, Side, TAG_BYTES};

impl LinkHandshake {
    /// Whether this is a dialler whose proof of the password is out and unanswered.
    ///
    /// A router that has none of our passwords says so before it closes. A stream that ends in this state may have been a
    /// stranger's that tested its guess and left: dial again as slowly as after [`HandshakeError::WrongPassword`].
    #[must_use]
    pub fn proof_is_unanswered(&self) -> bool {
        matches!(self.step, Step::DiallerAnswer(_))
    }

    /// As listener, right after our hello: our elements.
    pub(super) fn begin_exchange(&mut self, theirs: usize, out: &mut Vec<u8>) -> Step {
        let exchange = self.start_exchange(Side::Listener, theirs);
        let elements = exchange.elements();
        self.say(&length_of(elements.len()), out);
        self.say(elements, out);
        Step::ListenerProof(Box::new(exchange))
    }

    /// As dialler: takes the listener's elements, says ours and one tag for each instance.
    pub(super) fn handle_elements(
        &mut self,
        theirs: usize,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        self.hear(message);
        let exchange = self.start_exchange(Side::Dialler, theirs);
        let elements = exchange.elements().to_vec();
        let keys = exchange.finish(message)?;
        self.say(&length_of(keys.len() * (ELEMENT_BYTES + TAG_BYTES)), out);
        self.say(&elements, out);
        let said = self.said();
        for instance in 0..keys.len() {
            let tag = keys
                .tag(Side::Dialler, instance, said.as_ref())
                .expect("the instance is one of them");
            self.say(&tag, out);
        }
        Ok(Step::DiallerAnswer(Box::new(keys)))
    }

    /// As listener: takes the dialler's elements and tags, and says which instance met, with our tag, or that none did.
    pub(super) fn handle_proof(
        &mut self,
        exchange: Exchange,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let instances = exchange.elements().len() / ELEMENT_BYTES;
        let (elements, tags) = message
            .split_at_checked(instances * ELEMENT_BYTES)
            .ok_or(HandshakeError::Malformed)?;
        let (tags, rest) = tags.as_chunks::<TAG_BYTES>();
        if tags.len() != instances || !rest.is_empty() {
            return Err(HandshakeError::Malformed);
        }
        self.transcript.update(&length_of(message.len()));
        self.transcript.update(elements);
        let said = self.said();
        self.transcript.update(tags.as_flattened());
        let keys = exchange.finish(elements)?;
        // Every tag is checked, whichever fits: how long it takes tells nothing that the answer does not.
        let mut met = None;
        for (instance, tag) in tags.iter().enumerate().rev() {
            if keys.confirms(Side::Dialler, instance, said.as_ref(), tag) {
                met = Some(instance);
            }
        }
        let Some(instance) = met else {
            write_message(&[NONE_MET], out)?;
            return Err(HandshakeError::WrongPassword);
        };
        self.say(&length_of(1 + TAG_BYTES), out);
        self.say(&[instance as u8], out);
        let tag = keys
            .tag(Side::Listener, instance, self.said().as_ref())
            .expect("the instance is one of them");
        self.say(&tag, out);
        let psk = self.settle(&keys, instance);
        self.start_listener_xx(Some(&psk))
    }

    /// As dialler: takes the answer to our tags. Whatever is not the right tag is a wrong password: a stranger that tested
    /// its guess on our tags might answer anything.
    pub(super) fn handle_answer(
        &mut self,
        keys: &SharedKeys,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Step, HandshakeError> {
        let wrong = HandshakeError::WrongPassword;
        let (&met, tag) = message.split_first().ok_or(wrong)?;
        // Nothing but one byte says that none met.
        let tag: &[u8; TAG_BYTES] = tag.try_into().map_err(|_| wrong)?;
        let instance = usize::from(met);
        if instance >= keys.len() {
            return Err(wrong);
        }
        self.transcript.update(&length_of(message.len()));
        self.transcript.update(&[met]);
        if !keys.confirms(Side::Listener, instance, self.said().as_ref(), tag) {
            return Err(wrong);
        }
        self.transcript.update(tag);
        let psk = self.settle(keys, instance);
        self.start_dialler_xx(Some(&psk), out)
    }

    /// The exchange is over, and this instance met: what Noise gets of it.
    fn settle(&mut self, keys: &SharedKeys, instance: usize) -> Zeroizing<[u8; 32]> {
        self.password = Some(self.local.passwords.index_of_instance(instance));
        keys.noise_psk(instance, self.said().as_ref())
            .expect("the instance is one of them")
    }

    fn start_exchange(&self, side: Side, theirs: usize) -> Exchange {
        let local = &self.local;
        Exchange::start(side, local.network, &local.passwords, theirs, &self.seed)
    }

    /// A message of the other side that belongs to the prologue.
    fn hear(&mut self, message: &[u8]) {
        self.transcript.update(&length_of(message.len()));
        self.transcript.update(message);
    }
}

fn length_of(message: usize) -> [u8; 2] {
    u16::try_from(message)
        .expect("messages of the exchange have 128 bytes at most, those taken in 512")
        .to_be_bytes()
}

/// The answer to tags of which none fits.
const NONE_MET: u8 = 255;
