package state

// The stored numbers of the ops. A number is never changed and never reused, also when an op is retired.
const (
	opOpenSession         opcode = 1
	opCloseSession        opcode = 2
	opRaiseLevel          opcode = 3
	opLeaveSession        opcode = 4
	opStepAside           opcode = 5
	opCreateTopic         opcode = 10
	opDeleteTopic         opcode = 11
	opCreatePartitions    opcode = 12
	opAlterConfigs        opcode = 13
	opCommitObject        opcode = 20
	opSkipObject          opcode = 21
	opAllocateProducerIDs opcode = 30
	opExpireProducers     opcode = 31
	opAdvanceLogStart     opcode = 40
	opClaimGroup          opcode = 50
	opWriteGroup          opcode = 51
	opCommitOffsets       opcode = 52
	opDeleteGroup         opcode = 53
	opExpireOffsets       opcode = 54
	opNoteTrim            opcode = 60
)

func (OpenSession) opcode() opcode         { return opOpenSession }
func (CloseSession) opcode() opcode        { return opCloseSession }
func (RaiseLevel) opcode() opcode          { return opRaiseLevel }
func (LeaveSession) opcode() opcode        { return opLeaveSession }
func (StepAside) opcode() opcode           { return opStepAside }
func (CreateTopic) opcode() opcode         { return opCreateTopic }
func (DeleteTopic) opcode() opcode         { return opDeleteTopic }
func (CreatePartitions) opcode() opcode    { return opCreatePartitions }
func (AlterConfigs) opcode() opcode        { return opAlterConfigs }
func (CommitObject) opcode() opcode        { return opCommitObject }
func (SkipObject) opcode() opcode          { return opSkipObject }
func (AllocateProducerIDs) opcode() opcode { return opAllocateProducerIDs }
func (ExpireProducers) opcode() opcode     { return opExpireProducers }
func (AdvanceLogStart) opcode() opcode     { return opAdvanceLogStart }
func (ClaimGroup) opcode() opcode          { return opClaimGroup }
func (WriteGroup) opcode() opcode          { return opWriteGroup }
func (CommitOffsets) opcode() opcode       { return opCommitOffsets }
func (DeleteGroup) opcode() opcode         { return opDeleteGroup }
func (ExpireOffsets) opcode() opcode       { return opExpireOffsets }
func (NoteTrim) opcode() opcode            { return opNoteTrim }
