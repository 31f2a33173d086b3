// What commands and studies need to know of attacks, so that they need not reach past this room.
export {
  type AttackName,
  type AttackOptions,
  type AttackSpec,
  attackNames,
  attackOptions,
  type Norm,
  norms,
  parseEpsilon,
  parseStepSize,
  resolveAttack,
} from '../attacks/registry.js';
