export { codesOf } from '../attacks/codes.js';
